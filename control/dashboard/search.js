/** A search box, and hits with their sources. */

import {h, fill, faint, outside, problem} from "/dashboard/dom.js";
import {plural} from "/dashboard/format.js";
import {post} from "/dashboard/api.js";

export function search(kbId) {
  const text = h("input", {id: "query", type: "search", required: true, autocomplete: "off", placeholder: "How do I configure a proxy?"});
  const mode = h("select", {id: "mode"}, [["hybrid", "meaning and words"], ["vector", "meaning"], ["keyword", "words"]].map(([value, says]) => h("option", {value}, says)));
  const answer = h("div", {"aria-live": "polite"});
  let asked = 0;
  const ask = async (event) => {
    event.preventDefault();
    const mine = ++asked;
    answer.ariaBusy = "true";
    let shown;
    try {
      const found = await post(`/kb/${kbId}/search`, {query: text.value, k: 10, mode: mode.value, highlights: 2});
      shown = [faint(said(found)), h("ol", {class: "hits"}, found.hits.map(hit))];
    } catch (error) {
      shown = problem(error);
    }
    if (mine === asked) { fill(answer, shown); answer.ariaBusy = "false"; }
  };
  const form = h("form", {class: "line", role: "search", onsubmit: ask}, h("div", {class: "wide"}, h("label", {for: "query"}, "Question"), text),
    h("div", {}, h("label", {for: "mode"}, "Compared by"), mode), h("button", {type: "submit"}, "Search"));
  return {element: h("div", {}, form, answer)};
}

function said(found) {
  const of = found.generation === null ? "" : ` of generation ${found.generation}${found.provisional ? ", not published yet" : ""}`;
  return [`${plural(found.hits.length, "hit")}${of}. `, found.note];
}

function hit(each) {
  const passages = each.highlights.length ? each.highlights : [[{text: each.text.length > 400 ? `${each.text.slice(0, 400)}…` : each.text, match: false}]];
  return h("li", {class: "card hit"},
    h("h2", {}, outside(each.url, each.title || each.url), h("span", {class: "score", title: "score"}, each.score.toFixed(3))),
    faint(each.heading_path.join(" › ") || each.url),
    passages.map((parts) => h("p", {}, parts.map((part) => (part.match ? h("mark", {}, part.text) : part.text)))),
    h("p", {class: "source"}, each.url),
    each.duplicates.length > 0 && h("p", {class: "faint"}, "Also on ", each.duplicates.map((other, index) => [index > 0 && ", ", outside(other.url, other.title || other.url)])));
}
