/** One knowledge base: what it is, what can be done with it, and its rooms. */

import {h, badge, faint, note, outside, refill} from "/dashboard/dom.js";
import {known} from "/dashboard/api.js";
import {commands, job, notes} from "/dashboard/job.js";
import {search} from "/dashboard/search.js";
import {pages} from "/dashboard/pages.js";
import {hosts} from "/dashboard/hosts.js";
import {deadLetters} from "/dashboard/letters.js";
import {generations} from "/dashboard/generations.js";
import {cost} from "/dashboard/cost.js";
import {audit} from "/dashboard/audit.js";
import {definition} from "/dashboard/definition.js";

const ROOMS = {
  "": ["Job", job], search: ["Search", search], pages: ["Pages", pages], hosts: ["Hosts", hosts], "dead-letters": ["Dead letters", deadLetters],
  generations: ["Generations", generations], cost: ["Cost", cost], audit: ["Audit trail", audit], definition: ["Definition", definition],
};

/** null where it has no such room. */
export function kb(kbId, tab) {
  if (!Object.hasOwn(ROOMS, tab)) return null;
  const [name, make] = ROOMS[tab];
  const at = h("span", {class: "at"}), about = h("p", {class: "faint"}), said = h("div"), buttons = commands(kbId), view = make(kbId);
  const room = h("div", {}, view.element);
  const link = ([key, [label]]) => h("a", {href: `#/kb/${kbId}${key && `/${key}`}`, "aria-current": key === tab ? "page" : null}, label);
  const element = h("div", {},
    h("div", {class: "title"}, h("div", {class: "what"}, h("h1", {}, kbId), at, about), buttons.element),
    said, h("nav", {class: "tabs", "aria-label": `Rooms of ${kbId}`}, Object.entries(ROOMS).map(link)), room);
  const changed = (which) => {
    if (which !== null && which !== kbId) return;
    const status = known.statuses.get(kbId), its = known.kbs.get(kbId);
    const missing = known.told && !its;
    buttons.element.hidden = room.hidden = !its;
    refill(at, status?.status, () => status && badge(status.status));
    refill(about, its && [its.definition, its.published_generation], () => its && told(its));
    refill(said, [missing, !!its, status && [status.status, status.reason, status.stalls, status.review, status.lost]], () => (missing ? none(kbId) : its ? status && notes(status) : faint("Loading…")));
    buttons.changed(status);
    view.changed?.(status, its);
  };
  changed(null);
  return {element, title: `${kbId}: ${name}`, changed, close: view.close};
}

const none = (kbId) => note("warn", h("p", {}, `There is no knowledge base ${kbId}. `, h("a", {href: "#/"}, "See those that there are"), "."));

function told(its) {
  const [first, ...others] = its.definition.source.urls;
  return [h("span", {class: "cut"}, outside(first)), others.length > 0 && ` and ${others.length} more`, ` · ${its.definition.embedding.model ?? "the usual model"}`,
    its.published_generation ? ` · searched at generation ${its.published_generation}` : " · nothing is published yet"];
}
