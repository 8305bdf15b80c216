/** What was asked of each host, and how politely. */

import {h, badge, card, listed, loaded, refill, table, time} from "/dashboard/dom.js";
import {bytes, duration, milliseconds, number} from "/dashboard/format.js";
import {get, query} from "/dashboard/api.js";

const [FEW, FILTERED_FROM] = [50, 20];

export function hosts(kbId) {
  let jobId = null, told = null, all = [], most = FEW;
  const requests = h("div"), rows = h("div"), empty = "No host is like that.";
  const filter = h("input", {id: "host", type: "search", autocomplete: "off", oninput: () => show()});
  const filtered = h("div", {class: "filter", hidden: true}, h("label", {for: "host"}, "Only names with"), filter);
  const more = h("button", {type: "button", class: "quiet", hidden: true, onclick: () => { most += FEW; show(); }}, "More");
  const show = () => {
    const these = all.filter(({host}) => host.includes(filter.value.trim()));
    filtered.hidden = all.length < FILTERED_FROM;
    more.hidden = these.length <= most;
    refill(rows, [these, most], () => table("What was asked of each, the busiest first", columns(open), these.slice(0, most), all.length ? empty : "Nothing was asked of any host."));
    return rows;
  };
  const open = (host) => {
    const asked = loaded(() => requestsOf(jobId, host)), shown = card(`Requests to ${host}`, asked);
    shown.tabIndex = -1;
    requests.replaceChildren(shown);
    shown.focus();
    asked.again();
  };
  const list = loaded(async () => {
    if (!jobId) return h("p", {}, "There has been no job yet.");
    all = (await get(`/jobs/${jobId}/hosts`)).hosts;
    return show();
  });
  return {element: h("div", {}, card("Hosts", filtered, list, more), requests), changed: (status) => {
    const now = status && [status.job_id, status.status, status.crawl.pages_crawled].join();
    if (now === told && told !== null) return;
    [jobId, told] = [status?.job_id, now];
    list.again();
  }};
}

const columns = (show) => [
  ["Host", (host) => h("button", {type: "button", class: "link", "aria-label": `Requests to ${host.host}`, onclick: () => show(host.host)}, host.host), "host"],
  ["Requests", (host) => number(host.requests), "number"], ["Good", (host) => number(host.succeeded), "number"], ["Not modified", (host) => number(host.not_modified), "number"],
  ["Refused", (host) => number(host.refused), "number"], ["Errors", (host) => number(host.client_errors + host.server_errors + host.unusable), "number"],
  ["Mean", (host) => milliseconds(host.mean_ms), "number"], ["95 %", (host) => milliseconds(host.p95_ms), "number"], ["Received", (host) => bytes(host.bytes), "number"],
  ["robots.txt", (host) => (host.robots ? badge(host.robots) : "–")], ["Crawl-delay", (host) => (host.crawl_delay_s === null ? "none" : `${host.crawl_delay_s} s`), "number"],
  ["At once", (host) => number(host.concurrency), "number"], ["Waited in all", (host) => duration(host.waited_ms / 1000), "number"], ["Closed until", (host) => time(host.closed_until)],
];

const requestsOf = (jobId, host) => listed("In the order in which they were told", [
  ["When", (each) => time(each.at)], ["What for", (each) => each.purpose], ["Address", (each) => each.url, "url"], ["Status", (each) => each.status ?? each.error, "number"],
  ["Took", (each) => milliseconds(each.duration_ms), "number"], ["Waited", (each) => milliseconds(each.waited_ms), "number"], ["Size", (each) => bytes(each.bytes), "number"],
], async (after) => {
  const found = await get(`/jobs/${jobId}/hosts/${encodeURIComponent(host)}/requests${query({after})}`);
  return [found.requests, found.next_after];
});
