/** A search box, and hits with their sources. */

import {h, fill, number, problem} from "/dashboard/dom.js";
import {post} from "/dashboard/api.js";

export function search(kbId) {
  const text = h("input", {id: "query", type: "search", required: true, autocomplete: "off"});
  const mode = h("select", {id: "mode"}, ["hybrid", "vector", "keyword"].map((each) => h("option", {}, each)));
  const answer = h("div", {"aria-live": "polite"});
  const button = h("button", {type: "submit"}, "Search");
  const ask = async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const found = await post(`/kb/${kbId}/search`, {query: text.value, k: 10, mode: mode.value, highlights: 2});
      fill(answer, h("p", {class: "faint"}, said(found)), found.hits.map(hit));
    } catch (error) {
      fill(answer, problem(error));
    } finally {
      button.disabled = false;
    }
  };
  return h("div", {}, h("form", {class: "line", role: "search", onsubmit: ask},
    h("div", {}, h("label", {for: "query"}, "Question"), text), h("div", {}, h("label", {for: "mode"}, "By"), mode), button), answer);
}

function said(found) {
  const of = found.generation === null ? "" : ` of generation ${found.generation}${found.provisional ? ", not published yet" : ""}`;
  return [`${number(found.hits.length)} hits${of}. `, found.note];
}

function hit(each) {
  const passages = each.highlights.length ? each.highlights : [[{text: each.text.slice(0, 400), match: false}]];
  return h("article", {class: "hit"},
    h("h3", {}, h("a", {href: each.url, rel: "noreferrer noopener", target: "_blank"}, each.title || each.url)),
    h("p", {class: "faint"}, each.heading_path.join(" › ") || each.url, ` · ${each.score.toFixed(3)}`),
    passages.map((parts) => h("p", {}, parts.map((part) => (part.match ? h("mark", {}, part.text) : part.text)))),
    each.duplicates.length > 0 && h("p", {class: "faint"}, "Also on ", each.duplicates.map((other, index) => [index > 0 && ", ", h("a", {href: other.url, rel: "noreferrer noopener", target: "_blank"}, other.title || other.url)])));
}
