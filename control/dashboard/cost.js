/** What embedding cost: of one knowledge base, and of all. */

import {h, card, level, loaded, table, tiles} from "/dashboard/dom.js";
import {dollars, number, plural} from "/dashboard/format.js";
import {get} from "/dashboard/api.js";

export function cost(kbId) {
  let told = null;
  const element = loaded(async () => {
    const spent = await get(`/kb/${kbId}/cost`);
    const parts = [...spent.jobs.map((each) => [`Job of generation ${each.generation ?? "?"}`, each]), ["Questions of searches", spent.searches]];
    return [sums(spent), card("By job", spendings("The newest first", "What for", parts)), days(spent)];
  });
  return {element, changed: (status) => {
    const now = JSON.stringify([status?.job_id, status?.status, status?.cost.calls]);
    if (now !== told) { told = now; element.again(); }
  }};
}

/** Of all knowledge bases. */
export function spending() {
  const element = loaded(async () => {
    const spent = await get("/cost");
    const kbs = spent.kbs.map((each) => [h("a", {href: `#/kb/${each.kb_id}/cost`}, each.kb_id), each]);
    return [sums(spent), card("By knowledge base", spendings("Deleted ones too", "Knowledge base", kbs)), days(spent)];
  });
  element.again();
  return {element: h("div", {}, h("div", {class: "title"}, h("h1", {}, "Cost")), element), title: "Cost"};
}

const sums = (spent) => tiles([
  ["Cost", dollars(spent.usd)], ["Tokens", number(spent.tokens_embedded)], ["Texts", number(spent.texts_embedded)], ["Calls", number(spent.calls)],
  ["Not settled", spent.unsettled_tokens ? plural(spent.unsettled_tokens, "token") : "–"],
]);

const days = (spent) => card("By day", spendings("In UTC, the newest first", "Day", spent.days.map((day) => [h("time", {datetime: day.day}, day.day), day])));

function spendings(caption, first, rows) {
  const most = Math.max(0, ...rows.map(([, spent]) => spent.tokens_embedded));
  return table(caption, [
    [first, ([name]) => name], ["Tokens", ([, spent]) => level(spent.tokens_embedded, most), "number"], ["Texts", ([, spent]) => number(spent.texts_embedded), "number"],
    ["Calls", ([, spent]) => number(spent.calls), "number"], ["Dollars", ([, spent]) => dollars(spent.usd), "number"],
    ["Not settled", ([, spent]) => (spent.unsettled_tokens ? plural(spent.unsettled_tokens, "token") : "–"), "number"],
  ], rows);
}
