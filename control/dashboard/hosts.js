/** What was asked of each host, and how politely. */

import {h, badge, card, listed, loaded, table, time} from "/dashboard/dom.js";
import {bytes, duration, milliseconds, number} from "/dashboard/format.js";
import {get, query} from "/dashboard/api.js";

export function hosts(kbId) {
  let jobId = null, told = null;
  const requests = h("div");
  const list = loaded(async () => {
    if (!jobId) return h("p", {}, "There has been no job yet.");
    return card("Hosts", table("What was asked of each, the busiest first", columns((host) => {
      const asked = loaded(() => requestsOf(jobId, host));
      requests.replaceChildren(card(`Requests to ${host}`, asked));
      asked.again();
    }), (await get(`/jobs/${jobId}/hosts`)).hosts, "Nothing was asked of any host."));
  });
  return {element: h("div", {}, list, requests), changed: (status) => {
    const now = status && [status.job_id, status.status, status.crawl.pages_crawled].join();
    if (now === told && told !== null) return;
    [jobId, told] = [status?.job_id, now];
    list.again();
  }};
}

const columns = (show) => [
  ["Host", (host) => h("button", {type: "button", class: "link", "aria-label": `Requests to ${host.host}`, onclick: () => show(host.host)}, host.host)],
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
