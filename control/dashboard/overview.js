/** All knowledge bases, with what their newest job does. */

import {h, fill, badge, number, dollars, table, time} from "/dashboard/dom.js";
import {known} from "/dashboard/api.js";

export function overview() {
  const list = h("div");
  const element = h("div", {}, h("h1", {}, "Knowledge bases"), list,
    h("p", {class: "actions"}, h("a", {class: "button", href: "#/new"}, "New knowledge base")));
  const show = () => {
    const kbs = [...known.kbs.values()].sort((one, other) => one.kb_id.localeCompare(other.kb_id));
    const status = (kb) => known.statuses.get(kb.kb_id);
    const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    fill(list, table(`${number(kbs.length)} knowledge bases`, [
      ["Name", (kb) => h("a", {href: `#/kb/${kb.kb_id}`}, kb.kb_id)],
      ["Status", (kb) => (status(kb) ? badge(status(kb).status) : badge("no job"))],
      ["Progress", (kb) => (status(kb) ? progress(status(kb)) : "–")],
      ["Pages", (kb) => number(status(kb)?.crawl.pages_crawled), "number"],
      ["Chunks", (kb) => number(status(kb)?.metrics.chunks_processed), "number"],
      ["Per second", (kb) => number(status(kb)?.rate_chunks_per_s && Math.round(status(kb).rate_chunks_per_s)), "number"],
      ["Lag", (kb) => number(status(kb)?.offsets.lag), "number"],
      ["Cost", (kb) => (status(kb)?.cost.kb ? dollars(status(kb).cost.kb.usd) : "–"), "number"],
      ["Published", (kb) => (kb.published_generation ? `generation ${kb.published_generation}` : "–")],
      ["Changed", (kb) => time(status(kb)?.commanded_at ?? kb.updated_at)],
    ], kbs, "No knowledge base yet. Make the first from a site's address."));
    if (focused) list.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  };
  show();
  return {element, title: "Knowledge bases", changed: show};
}

function progress(status) {
  const said = `${Math.floor(status.progress)} %`;
  return [h("progress", {max: 100, value: status.progress, "aria-label": `${status.kb_id}: ${said}`}), ` ${said}`];
}
