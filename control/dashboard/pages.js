/** What became of each page of the newest job, and why. */

import {h, badge, card, fill, listed, loaded, outside, problem, table} from "/dashboard/dom.js";
import {bytes, number, words} from "/dashboard/format.js";
import {get, query} from "/dashboard/api.js";

export function pages(kbId) {
  let status = null, told = null;
  const element = loaded(async () => (status ? shown(status.job_id) : h("p", {}, "There has been no job yet.")));
  return {element, changed: (newest) => {
    const now = newest && [newest.job_id, newest.status].join();
    if (now === told) return;
    [status, told] = [newest, now];
    element.again();
  }};
}

async function shown(jobId) {
  const summary = await get(`/jobs/${jobId}/pages/summary`);
  const list = h("div");
  const state = h("select", {id: "state", onchange: () => show()}, h("option", {value: ""}, "any"), summary.states.map((each) => h("option", {value: each.state}, `${words(each.state)} (${number(each.pages)})`)));
  const contains = h("input", {id: "contains", type: "search", placeholder: "/guide/"});
  let reason = "";
  const show = async () => {
    const wanted = {state: state.value, contains: contains.value, reason, limit: 100};
    try {
      fill(list, await listed(reason ? `Pages with the reason “${reason}”` : "Pages, by address", COLUMNS, async (after) => {
        const found = await get(`/jobs/${jobId}/pages${query({...wanted, after})}`);
        return [found.pages, found.next_after];
      }, "No page is like that."));
    } catch (error) {
      fill(list, problem(error));
    }
  };
  const only = (each) => h("button", {type: "button", class: "quiet small", "aria-label": `Show pages: ${each.reason}`, onclick: () => {
    state.value = each.state;
    reason = longest(each.reason.split("…")).trim();
    show();
  }}, "Show");
  await show();
  return [
    summary.reasons.length > 0 && card("Why not", table("Pages without new content, by reason", [
      ["State", (each) => badge(each.state)], ["Why", (each) => each.reason, "text"], ["Pages", (each) => number(each.pages), "number"], ["", only],
    ], summary.reasons)),
    card("Pages", h("form", {class: "line", onsubmit: (event) => { event.preventDefault(); reason = ""; show(); }},
      h("div", {}, h("label", {for: "state"}, "State"), state), h("div", {class: "wide"}, h("label", {for: "contains"}, "Address contains"), contains),
      h("button", {type: "submit"}, "Filter")), list),
  ];
}

const COLUMNS = [
  ["Page", (page) => [outside(page.url), page.title && h("div", {class: "faint"}, page.title)], "url"], ["State", (page) => badge(page.state)],
  ["Status", (page) => page.status ?? "–", "number"], ["Chunks", (page) => number(page.chunks), "number"], ["Size", (page) => bytes(page.bytes), "number"], ["Why", (page) => page.reason ?? "", "text"],
];

const longest = (parts) => parts.reduce((most, part) => (part.length > most.length ? part : most), "");
