/** What is known of a knowledge base's newest job, as it goes: bars, figures, curves, and what can be told it to do. */

import {h, bar, button, card, fill, figures, lacks, note, refill, table, time} from "/dashboard/dom.js";
import {bytes, dollars, duration, number, percent, plural, rough, words} from "/dashboard/format.js";
import {get, known, post, query} from "/dashboard/api.js";
import {curves} from "/dashboard/charts.js";

export const OVER = new Set(["completed", "completed_with_errors", "failed", "cancelled"]);
const CURVES_EVERY_MS = 1000;
const [FEWEST, MOST] = [20, 120];

/** Buttons for what makes sense now. The focus goes on to the next where its button is no more. */
export function commands(kbId) {
  const command = (name, label, options) => button(label, () => post(`/kb/${kbId}/${name}`), {done: `${label}: asked for.`, "data-needs": "operate", ...options});
  const start = command("start", "Refresh"), pause = command("pause", "Pause", {kind: "quiet"}), resume = command("resume", "Resume");
  const cancel = command("cancel", "Cancel", {kind: "danger", question: `Cancel the job of ${kbId}? What it wrote is removed.`});
  const approve = button("Approve", () => post(`/kb/${kbId}/approve`, {digest: known.statuses.get(kbId).review.digest}), {
    question: `Publish this generation of ${kbId} although pages are missing?`, done: "Approve: asked for.", "data-needs": "operate",
  });
  const element = h("div", {class: "actions"}, lacks("operate", "Your token may look and search."), approve, resume, start, pause, cancel);
  const changed = (status) => {
    const active = !!status && !OVER.has(status.status), focused = element.contains(document.activeElement);
    start.textContent = status ? "Refresh" : "Start";
    start.hidden = active;
    pause.hidden = !active || status.desired !== "running";
    resume.hidden = !active || status.desired !== "paused";
    cancel.hidden = !active || status.desired === "cancelled";
    approve.hidden = status?.status !== "needs_review";
    if (focused && document.activeElement.hidden) element.querySelector("button:not([hidden])")?.focus();
  };
  return {element, changed};
}

/** What a person should know before all else. */
export function notes(status) {
  const said = [];
  if (status.status === "needs_review") {
    said.push(note("warn", h("p", {}, h("strong", {}, "This refresh waits for you. "), status.review.reason),
      h("p", {}, `Of ${plural(status.review.pages_before, "page")} ${number(status.review.pages_vanished)} ${status.review.pages_vanished === 1 ? "has" : "have"} vanished and ${number(status.review.pages_failed)} failed. `,
        h("a", {href: `#/kb/${status.kb_id}/generations`}, "See what publishing would change"), ", then approve or cancel.")));
  } else if (status.reason && !status.stalls.length) {
    said.push(note(status.status === "failed" ? "bad" : status.status === "completed_with_errors" ? "warn" : "", h("p", {}, status.reason)));
  }
  for (const stall of status.stalls) {
    said.push(note("bad", h("p", {}, h("strong", {}, `The ${words(stall.service)} waits for ${stall.dependency}. `), stall.reason),
      h("p", {class: "faint"}, "Since ", time(stall.since), ". It goes on by itself once that is well again.")));
  }
  if (status.lost) {
    const {records, chunks, pages} = status.lost;
    const what = [records && `${plural(records, "record was", "records were")} lost from the log`, chunks && `${plural(chunks, "chunk was", "chunks were")} missing in Weaviate`];
    said.push(note("warn", h("p", {}, `${what.filter(Boolean).join(", ")}; ${plural(pages, "page is", "pages are")} fetched again.`)));
  }
  return said;
}

export function job(kbId) {
  const crawl = bar("Crawled", "pages"), indexed = bar("Indexed", "dealt"), head = h("p", {class: "headline"}), parts = h("div"), left = h("div"), chart = curves();
  const progress = card(null, head, crawl, indexed);
  const none = card(null, h("p", {}, "There has been no job yet. Start one to crawl the site."));
  const element = h("div", {}, none, progress, chart, parts, left);
  let timer = null, wanted = false, closed = false, drawn = null, points = FEWEST;
  const ask = async ({job_id: jobId, started_at: from, finished_at: to}) => {
    const lasted = from ? ((to ? new Date(to) : new Date()) - new Date(from)) / 1000 : 0;
    points = Math.round(Math.max(FEWEST, Math.min(MOST, lasted)));
    wanted = true;
    if (timer !== null) return;
    timer = 0;
    const began = performance.now();
    while (wanted && !closed) {
      wanted = false;
      try {
        chart.show((await get(`/jobs/${jobId}/history${query({points})}`)).moments);
      } catch { /* the notes above say what is wrong */ }
      const took = performance.now() - began;
      await new Promise((resume) => { timer = setTimeout(resume, Math.max(CURVES_EVERY_MS, Math.min(10 * took, 30_000))); });
    }
    timer = null;
  };
  const changed = (status) => {
    none.hidden = !!status || !known.told;
    progress.hidden = parts.hidden = left.hidden = chart.hidden = !status;
    if (!status) return;
    const {pages_crawled: read, pages_failed: failed, pages_skipped: skipped, pages_gone: gone} = status.crawl, done = read + failed + skipped + gone;
    fill(head, h("strong", {}, percent(status.progress)), " ", told(status));
    crawl.set(done, done + status.crawl.pages_queued, "page");
    indexed.set(status.metrics.chunks_processed, status.metrics.chunks_total, "chunk");
    fill(parts, groups(status));
    refill(left, status.crawl.left_out, () => leftOut(status));
    const now = [status.job_id, done, status.metrics.chunks_processed, status.status].join();
    if (now !== drawn) { drawn = now; ask(status); }
  };
  return {element, changed, close: () => { closed = true; chart.close(); }};
}

function told(status) {
  if (OVER.has(status.status)) {
    const took = status.started_at && status.finished_at ? (new Date(status.finished_at) - new Date(status.started_at)) / 1000 : null;
    return took === null ? words(status.status) : `${words(status.status)} after ${duration(took)}`;
  }
  const parts = [status.phase];
  if (status.rate_chunks_per_s) parts.push(`${rough(status.rate_chunks_per_s)} chunks/s`);
  if (status.eta_s !== null) parts.push(`about ${duration(status.eta_s)} left`);
  return parts.join(" · ");
}

function groups(status) {
  const {metrics, crawl, cost, offsets} = status;
  const flawed = (count) => (count ? "bad" : null);
  return h("div", {class: "groups"},
    card("Crawl", figures([
      ["Pages read", number(crawl.pages_crawled)], ["Waiting", number(crawl.pages_queued)], ["Unchanged", number(crawl.pages_unchanged)],
      ["Skipped", number(crawl.pages_skipped)], ["Gone", number(crawl.pages_gone)], ["Failed", number(crawl.pages_failed), flawed(crawl.pages_failed)], ["Fetched", bytes(crawl.bytes_fetched)],
    ])),
    card("Index", figures([
      ["Chunks indexed", number(metrics.chunks_indexed)], ["Duplicates", number(metrics.chunks_duplicate)], ["Set aside", number(metrics.chunks_parked)],
      ["Vectors used again", number(metrics.chunks_reused)], ["Failed", number(metrics.chunks_failed), flawed(metrics.chunks_failed)], ["Chunks per second", rough(status.rate_chunks_per_s)],
    ])),
    card("Log", figures([
      ["Partition", number(offsets.partition)], ["Committed offset", number(offsets.committed)], ["End", number(offsets.end)], ["Lag", number(offsets.lag)],
      ["Command revision", number(status.revision)], ["Commanded by", status.commanded_by],
    ])),
    card("Money", figures([
      ["Cost", dollars(cost.usd)], ["Tokens", number(cost.tokens_embedded)], ["Texts", number(cost.texts_embedded)], ["Calls", number(cost.calls)],
      ["Not settled", cost.unsettled_tokens ? plural(cost.unsettled_tokens, "token") : "–"],
      ["Budget", cost.budget.max_usd !== null ? dollars(cost.budget.max_usd) : cost.budget.max_tokens !== null ? plural(cost.budget.max_tokens, "token") : "none"],
    ])));
}

function leftOut(status) {
  const reasons = Object.entries(status.crawl.left_out);
  return reasons.length > 0 && card("Left out", table("Links that were not followed", [["Why", ([why]) => words(why)], ["Links", ([, count]) => number(count), "number"]], reasons));
}
