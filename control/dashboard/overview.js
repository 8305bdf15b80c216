/** All knowledge bases, with what their newest job does, and how far behind each partition of the log is. */

import {h, badge, card, fill, figures, level, refill, table, tiles} from "/dashboard/dom.js";
import {dollars, duration, number, percent, plural, rough} from "/dashboard/format.js";
import {get, known} from "/dashboard/api.js";
import {lagCurve, spark} from "/dashboard/charts.js";
import {OVER} from "/dashboard/job.js";

const NEEDS_YOU = new Set(["needs_review", "stalled", "failed"]);
const LAG_EVERY_MS = 2000;
const FILTERED_FROM = 9;
const MOST_SEEN = 240;
/** What was seen of the partitions since the page was opened, however often this view is left: {at_s, lags, all, most}. */
let seen = [];

export function overview() {
  const sums = h("div"), list = h("ul", {class: "kbs"}), lag = partitions(), none = h("div", {class: "empty"});
  const filter = h("input", {id: "filter", type: "search", autocomplete: "off", oninput: () => order()});
  const filtered = h("div", {class: "filter", hidden: true}, h("label", {for: "filter"}, "Only names with"), filter);
  const element = h("div", {}, h("div", {class: "title"}, h("h1", {}, "Knowledge bases"), h("div", {class: "actions"}, h("a", {class: "button", href: "#/new", "data-needs": "admin"}, "New knowledge base"))),
    sums, filtered, none, list, lag.element);
  const cards = new Map();
  let asking = false, closed = false;

  const order = () => {
    const names = [...known.kbs.keys()].sort(), focused = document.activeElement;
    names.sort((one, other) => wantsYou(other) - wantsYou(one));
    for (const [name, its] of cards) if (!known.kbs.has(name)) { its.remove(); cards.delete(name); }
    names.forEach((name, index) => {
      if (!cards.has(name)) { const its = kbCard(name); cards.set(name, its); its.changed(); }
      const its = cards.get(name);
      if (list.children[index] !== its) list.insertBefore(its, list.children[index] ?? null);
      its.hidden = !name.includes(filter.value.trim());
    });
    if (list.contains(focused)) focused.focus({preventScroll: true});  // it was moved
    filtered.hidden = names.length < FILTERED_FROM;
    refill(none, [names.length, known.told], () => names.length === 0 && (known.told ? first() : h("p", {class: "faint"}, "Loading…")));
  };
  const askLag = async () => {
    if (asking || closed) return;
    asking = true;
    try {
      lag.show((await get("/partitions")).partitions);
    } catch { /* the line at the top says so */ }
    setTimeout(() => { asking = false; if ([...known.statuses.values()].some((status) => !OVER.has(status.status))) askLag(); }, LAG_EVERY_MS);
  };
  const changed = (which) => {
    if (which === null) for (const its of cards.values()) its.changed();
    else cards.get(which)?.changed();
    order();
    fill(sums, known.kbs.size > 0 && summary());
    askLag();
  };
  changed(null);
  return {element, title: "Knowledge bases", changed, close: () => { closed = true; lag.close(); }};
}

const wantsYou = (name) => NEEDS_YOU.has(known.statuses.get(name)?.status);

function summary() {
  const statuses = [...known.statuses.values()], waiting = [...known.statuses.keys()].filter(wantsYou).length;
  const sum = (of) => statuses.reduce((all, status) => all + (of(status) ?? 0), 0);
  return tiles([
    ["At work", number(statuses.filter((status) => !OVER.has(status.status) && status.desired === "running").length)],
    ["Chunks per second", rough(sum((status) => status.rate_chunks_per_s))],
    ["Lag", number(sum((status) => (OVER.has(status.status) ? 0 : status.offsets.lag)))],
    ["Pages", number(sum((status) => status.crawl.pages_crawled))],
    ["Cost", dollars(sum((status) => status.cost.kb?.usd))],
    ["Want you", number(waiting), waiting ? "warn" : null],
  ]);
}

function first() {
  return card("Make the first", h("p", {}, "A knowledge base is a web site kept searchable. Give its address, see what its pages would become, and start."),
    h("p", {}, h("a", {class: "button", href: "#/new", "data-needs": "admin"}, "Begin with an address")));
}

function kbCard(name) {
  const at = h("span"), where = h("p", {class: "faint where"}), said = h("span"), numbers = h("div");
  const progress = h("progress", {max: 100, value: 0, "aria-label": `Progress of ${name}`});
  const element = h("li", {class: "card"}, h("div", {class: "title"}, h("h2", {}, h("a", {href: `#/kb/${name}`}, name)), at), where, h("div", {class: "going"}, progress, said), numbers);
  element.changed = () => {
    const its = known.kbs.get(name), status = known.statuses.get(name);
    if (!its) return;
    fill(at, badge(status?.status ?? "no job"));
    fill(where, its.definition.source.urls[0].replace(/^https?:\/\//, ""));
    progress.value = status?.progress ?? 0;
    fill(said, status ? percent(status.progress) : "–");
    const active = status && !OVER.has(status.status);
    fill(numbers, figures([
      ["Pages", number(status?.crawl.pages_crawled)], ["Chunks sent", number(status?.metrics.chunks_processed)],
      active ? ["Left", duration(status.eta_s)] : ["Cost", status?.cost.kb ? dollars(status.cost.kb.usd) : "–"],
      active ? ["Per second", rough(status.rate_chunks_per_s)] : ["Searched", its.published_generation ? `gen. ${its.published_generation}` : "–"],
    ]));
  };
  return element;
}

function partitions() {
  const said = h("span", {class: "faint"}), curve = lagCurve(), list = h("div");
  const element = h("details", {class: "card lag", hidden: true}, h("summary", {}, h("h2", {}, "Lag per partition"), said), curve, list);
  return {element, close: curve.close, show: (all) => {
    note(all);
    const {all: behind} = seen.at(-1), most = Math.max(...all.map((each) => each.lag ?? 0)), highest = Math.max(...seen.map((at) => at.most));
    if (element.hidden) element.open = behind > 0;
    element.hidden = all.length === 0;
    fill(said, behind ? `${plural(behind, "record")} to go` : "all is read");
    curve.show(seen);
    refill(list, [all, seen.length], () => table("The consumers' group on the topic of chunks", [
      ["Partition", (each) => number(each.partition), "number"], ["Lag", (each) => (each.lag === null ? "–" : level(each.lag, most)), "number"],
      ["Over time", (each) => spark(seen.map((at) => [at.at_s, at.lags.get(each.partition) ?? 0]), highest), "curve"],
      ["Committed", (each) => number(each.committed), "number"], ["End", (each) => number(each.end), "number"],
      ["Jobs under way", (each) => each.kbs.map((name, index) => [index > 0 && ", ", h("a", {href: `#/kb/${name}`}, name)]), "text"],
    ], all));
  }};
}

/** Keeps what is seen now; of too much every other moment, so that the curve goes back to the beginning. */
function note(all) {
  const lags = new Map(all.map((each) => [each.partition, each.lag ?? 0]));
  seen.push({at_s: Date.now() / 1000, lags, all: [...lags.values()].reduce((sum, lag) => sum + lag, 0), most: Math.max(0, ...lags.values())});
  if (seen.length > MOST_SEEN) seen = seen.filter((_, index) => index % 2 === 0);
}
