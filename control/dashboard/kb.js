/** One knowledge base: its job as it goes, and what it has come to. */

import {h, fill, append, badge, bar, bytes, confirmed, dollars, duration, number, problem, say, table, tiles, time, words} from "/dashboard/dom.js";
import {get, known, post, call, query} from "/dashboard/api.js";
import {curves} from "/dashboard/curves.js";
import {search} from "/dashboard/search.js";

const OVER = new Set(["completed", "completed_with_errors", "failed", "cancelled"]);
const TABS = {
  "": ["Job", job], search: ["Search", searchTab], pages: ["Pages", pages], hosts: ["Hosts", hosts],
  "dead-letters": ["Dead letters", deadLetters], generations: ["Generations", generations], cost: ["Cost", cost],
  audit: ["Audit trail", audit], definition: ["Definition", definition],
};

export function kb(kbId, tab = "") {
  const [name, make] = TABS[tab] ?? TABS[""];
  const heading = h("h1", {}, kbId, " ");
  const view = make(kbId);
  const at = h("span");
  heading.append(at);
  const element = h("div", {}, heading,
    h("nav", {class: "tabs", "aria-label": `Parts of ${kbId}`}, Object.entries(TABS).map(([key, [label]]) =>
      h("a", {href: `#/kb/${kbId}${key && `/${key}`}`, "aria-current": key === tab ? "page" : null}, label))),
    view.element);
  const changed = (which) => {
    if (which !== null && which !== kbId) return;
    const status = known.statuses.get(kbId);
    fill(at, status ? badge(status.status) : null);
    view.changed?.(status);
  };
  changed(null);
  return {element, title: `${kbId}: ${name}`, changed, close: view.close};
}

/** Runs what a button asks for; says what came of it. */
async function act(button, work, done) {
  button.disabled = true;
  try {
    await work();
    if (done) say(done);
  } catch (error) {
    say(error.message);
  } finally {
    button.disabled = false;
  }
}

function job(kbId) {
  const crawl = bar("Crawled"), indexed = bar("Indexed"), notes = h("div"), figures = h("div"), chart = curves();
  const command = (name, label, question, kind) => h("button", {type: "button", class: kind, onclick: async ({target}) => {
    if (question && !(await confirmed(question, label))) return;
    await act(target, () => post(`/kb/${kbId}/${name}`), `${label}: asked for.`);
  }}, label);
  const buttons = {
    start: command("start", "Refresh"),
    pause: command("pause", "Pause", null, "quiet"),
    resume: command("resume", "Resume"),
    cancel: command("cancel", "Cancel", `Cancel the job of ${kbId}? What it wrote is removed.`, "danger"),
    approve: h("button", {type: "button", onclick: ({target}) =>
      act(target, () => post(`/kb/${kbId}/approve`, {digest: known.statuses.get(kbId).review.digest}), "Approved.")}, "Approve"),
  };
  const element = h("div", {}, notes, crawl, indexed, h("div", {class: "actions"}, Object.values(buttons)), figures, chart);
  let asking = false, again = false, timer = null, closed = false;
  const ask = async (jobId) => {
    if (asking) { again = true; return; }
    asking = true;
    try {
      chart.show((await get(`/jobs/${jobId}/history`)).moments);
    } catch { /* the figures above say what is wrong */ }
    timer = setTimeout(() => { asking = false; if (again && !closed) { again = false; ask(jobId); } }, 1000);
  };
  const changed = (status) => {
    const running = status && !OVER.has(status.status);
    buttons.start.hidden = !!running;
    buttons.start.textContent = status ? "Refresh" : "Start";
    buttons.pause.hidden = !running || status.desired !== "running";
    buttons.resume.hidden = !running || status.desired !== "paused";
    buttons.cancel.hidden = !running;
    buttons.approve.hidden = !status?.review || status.status !== "needs_review";
    crawl.hidden = indexed.hidden = !status;
    if (!status) {
      fill(notes, h("p", {}, "No job yet: start one to crawl the site."));
      return;
    }
    const done = status.crawl.pages_crawled + status.crawl.pages_failed + status.crawl.pages_skipped;
    crawl.set(done, done + status.crawl.pages_queued);
    indexed.set(status.metrics.chunks_processed, status.metrics.chunks_total);
    fill(notes, noteOf(status), status.stalls.map((stall) =>
      h("div", {class: "note bad"}, h("p", {}, `${words(stall.service)} waits for ${stall.dependency}: ${stall.reason}`), h("p", {class: "faint"}, "since ", time(stall.since)))),
      status.lost && h("div", {class: "note warn"}, `${number(status.lost.records)} records were lost from the log; ${number(status.lost.pages)} pages are fetched again.`));
    fill(figures, tiles(figuresOf(status)), left(status));
    ask(status.job_id);
  };
  return {element, changed, close: () => { closed = true; clearTimeout(timer); }};
}

function noteOf(status) {
  if (status.review) {
    return h("div", {class: "note warn"}, h("p", {}, status.review.reason),
      h("p", {}, `Of ${number(status.review.pages_before)} pages ${number(status.review.pages_vanished)} have vanished and ${number(status.review.pages_failed)} failed. `,
        h("a", {href: `#/kb/${status.kb_id}/generations`}, "See what publishing would change"), ", then approve or cancel."));
  }
  return status.reason ? h("div", {class: "note"}, h("p", {}, status.reason)) : null;
}

function figuresOf(status) {
  const {metrics, crawl, cost: spent, offsets} = status;
  return [
    ["Generation", number(status.generation)], ["Phase", status.phase],
    ["Pages", number(crawl.pages_crawled)], ["Failed pages", number(crawl.pages_failed)],
    ["Unchanged pages", number(crawl.pages_unchanged)], ["Fetched", bytes(crawl.bytes_fetched)],
    ["Chunks per second", number(status.rate_chunks_per_s && Math.round(status.rate_chunks_per_s))], ["Left", duration(status.eta_s)],
    [`Lag, partition ${offsets.partition}`, number(offsets.lag)],
    ["Duplicates", number(metrics.chunks_duplicate)], ["Failed chunks", number(metrics.chunks_failed)],
    ["Set aside", number(metrics.chunks_parked)], ["Reused vectors", number(metrics.chunks_reused)],
    ["Tokens", number(spent.tokens_embedded)], ["Cost", dollars(spent.usd)],
  ];
}

function left(status) {
  const reasons = Object.entries(status.crawl.left_out);
  if (!reasons.length) return null;
  return [h("h2", {}, "Left out"), table("Links that were not followed", [["Why", ([why]) => words(why)], ["Links", ([, count]) => number(count), "number"]], reasons)];
}

const searchTab = (kbId) => ({element: search(kbId)});

/** Asks for something that a job must be there for, and shows it; problems are shown in its place. */
function asked(kbId, show) {
  const element = h("div", {}, h("p", {}, "Loading…"));
  let jobId = null;
  const changed = async (status) => {
    if (!status) { fill(element, h("p", {}, "No job yet.")); return; }
    if (status.job_id === jobId) return;
    jobId = status.job_id;
    try {
      fill(element, await show(status));
    } catch (error) {
      fill(element, problem(error));
    }
  };
  return {element, changed};
}

/** A table of rows that are asked for page by page. */
async function listed(caption, columns, ask, empty) {
  const [rows, next] = await ask(null);
  const element = h("div");
  const list = table(caption, columns, rows, empty);
  let after = next;
  const more = h("button", {type: "button", class: "quiet", hidden: after === null, onclick: () => act(more, async () => {
    const [added, following] = await ask(after);
    list.more(added);
    after = following;
    more.hidden = after === null;
  })}, "More");
  append(element, [list, h("p", {class: "actions"}, more)]);
  return element;
}

function pages(kbId) {
  return asked(kbId, async (status) => {
    const summary = await get(`/jobs/${status.job_id}/pages/summary`);
    const list = h("div");
    const state = h("select", {id: "state", onchange: () => show()}, h("option", {value: ""}, "any"), summary.states.map((each) => h("option", {value: each.state}, `${words(each.state)} (${number(each.pages)})`)));
    const contains = h("input", {id: "contains", type: "search", placeholder: "/guide/"});
    let reason = "";
    const show = async () => {
      const wanted = {state: state.value, contains: contains.value, reason, limit: 100};
      try {
        fill(list, await listed("Pages", [
          ["Page", (page) => h("a", {href: page.url, rel: "noreferrer noopener", target: "_blank"}, page.url), "url"],
          ["State", (page) => badge(page.state)], ["Status", (page) => page.status ?? "–", "number"], ["Why", (page) => page.reason ?? ""],
          ["Title", (page) => page.title], ["Chunks", (page) => number(page.chunks), "number"], ["Size", (page) => bytes(page.bytes), "number"],
        ], async (after) => {
          const found = await get(`/jobs/${status.job_id}/pages${query({...wanted, after})}`);
          return [found.pages, found.next_after];
        }, "No page is like that."));
      } catch (error) {
        fill(list, problem(error));
      }
    };
    const reasons = table("Reasons, the most frequent first", [
      ["State", (each) => badge(each.state)], ["Why", (each) => each.reason], ["Pages", (each) => number(each.pages), "number"],
      ["", (each) => h("button", {type: "button", class: "quiet", "aria-label": `Show pages: ${each.reason}`, onclick: () => {
        state.value = each.state;
        reason = each.reason.split("…").reduce((longest, part) => (part.length > longest.length ? part : longest), "").trim();
        show();
      }}, "Show")],
    ], summary.reasons, "Every page was read.");
    await show();
    return [
      h("form", {class: "line", onsubmit: (event) => { event.preventDefault(); reason = ""; show(); }},
        h("div", {}, h("label", {for: "state"}, "State"), state), h("div", {}, h("label", {for: "contains"}, "URL contains"), contains),
        h("button", {type: "submit"}, "Filter")),
      h("h2", {}, "Why not"), reasons, h("h2", {}, "Pages"), list,
    ];
  });
}

function hosts(kbId) {
  return asked(kbId, async (status) => {
    const found = (await get(`/jobs/${status.job_id}/hosts`)).hosts;
    return table("What was asked of each host, the busiest first", [
      ["Host", (host) => host.host], ["Requests", (host) => number(host.requests), "number"], ["Good", (host) => number(host.succeeded), "number"],
      ["Not modified", (host) => number(host.not_modified), "number"], ["Refused", (host) => number(host.refused), "number"],
      ["Errors", (host) => number(host.client_errors + host.server_errors + host.unusable), "number"],
      ["Mean", (host) => (host.mean_ms === null ? "–" : `${Math.round(host.mean_ms)} ms`), "number"], ["95 %", (host) => (host.p95_ms === null ? "–" : `${Math.round(host.p95_ms)} ms`), "number"],
      ["Waited", (host) => duration(host.waited_ms / 1000), "number"], ["robots.txt", (host) => host.robots ?? "–"],
      ["Crawl-delay", (host) => (host.crawl_delay_s === null ? "–" : `${host.crawl_delay_s} s`), "number"], ["At once", (host) => number(host.concurrency), "number"],
      ["Closed until", (host) => time(host.closed_until)],
    ], found, "Nothing was asked of any host.");
  });
}

function deadLetters(kbId) {
  const element = h("div");
  const show = async () => {
    try {
      fill(element, h("div", {class: "actions"}, all), await listed("Records that failed by themselves", [
        ["Place", (letter) => `${letter.place.partition}/${letter.place.offset}`], ["State", (letter) => badge(letter.state)],
        ["Stage", (letter) => letter.stage], ["Why", (letter) => letter.reason, "url"], ["When", (letter) => time(letter.dead_lettered_at)],
        ["", (letter) => letter.state === "waiting" && h("button", {type: "button", class: "quiet", "aria-label": `Retry ${letter.place.partition}/${letter.place.offset}`,
          onclick: ({target}) => act(target, () => retry({places: [letter.place]}))}, "Retry")],
      ], async (after) => {
        const found = await get(`/dead-letters${query({kb: kbId, after})}`);
        return [found.dead_letters, found.next_after];
      }, "No record has failed."));
    } catch (error) {
      fill(element, problem(error));
    }
  };
  const retry = async (which) => {
    const answer = await post("/dead-letters/retry", which);
    say(answer.retried ? `${number(answer.retried)} are tried again.` : answer.not_retried[0]?.reason ?? "Nothing was left to retry.");
    await show();
  };
  const all = h("button", {type: "button", onclick: ({target}) => act(target, () => retry({kb_id: kbId}))}, "Retry all that wait");
  show();
  return {element};
}

function generations(kbId) {
  const element = h("div");
  const rollback = h("button", {type: "button", class: "danger", onclick: async ({target}) => {
    if (await confirmed(`Undo the newest published generation of ${kbId}? Searches see the one before again.`, "Roll back")) {
      await act(target, () => post(`/kb/${kbId}/rollback`), "Rolling back.");
    }
  }}, "Roll back");
  const show = async () => {
    try {
      const found = (await get(`/kb/${kbId}/generations`)).generations;
      rollback.hidden = found.filter((each) => each.state === "published").length < 2;
      fill(element, table("Generations, the newest first", [
        ["Generation", (each) => number(each.generation), "number"], ["State", (each) => badge(each.state)],
        ["", (each) => (each.searched ? h("strong", {}, "searched") : each.searchable ? "searchable" : "")],
        ["Built on", (each) => number(each.base), "number"], ["Why", (each) => each.reason ?? ""], ["When", (each) => time(each.changed_at)],
      ], found, "No generation yet."), h("div", {class: "actions"}, rollback), await changes(kbId));
    } catch (error) {
      fill(element, problem(error));
    }
  };
  let seen = null;
  return {element, changed: (status) => {
    const now = JSON.stringify([known.kbs.get(kbId)?.published_generation, status?.status, status?.generation]);
    if (now !== seen) { seen = now; show(); }
  }};
}

async function changes(kbId) {
  let totals;
  try {
    const columns = [
      ["Page", (page) => h("a", {href: page.url, rel: "noreferrer noopener", target: "_blank"}, page.url), "url"], ["Change", (page) => badge(page.change)],
      ["Chunks added", (page) => number(page.chunks_added), "number"], ["removed", (page) => number(page.chunks_removed), "number"], ["kept", (page) => number(page.chunks_kept), "number"],
      ["Why", (page) => page.reason ?? ""],
    ];
    const list = await listed("Pages that changed", columns, async (after) => {
      const found = await get(`/kb/${kbId}/changes${query({after})}`);
      totals = found;
      return [found.pages, found.next_after];
    }, "No page has changed.");
    return [h("h2", {}, `From generation ${totals.from_generation} to ${totals.to_generation}${totals.provisional ? ", so far" : ""}`),
      tiles(Object.entries(totals.totals).map(([name, count]) => [words(name), number(count)])), list];
  } catch (error) {
    return h("p", {class: "faint"}, error.message);
  }
}

function cost(kbId) {
  const element = h("div");
  const columns = [
    ["Calls", (spent) => number(spent.calls), "number"], ["Texts", (spent) => number(spent.texts_embedded), "number"],
    ["Tokens", (spent) => number(spent.tokens_embedded), "number"], ["Dollars", (spent) => dollars(spent.usd), "number"],
    ["Not settled", (spent) => (spent.unsettled_tokens ? `${number(spent.unsettled_tokens)} tokens` : "–"), "number"],
  ];
  get(`/kb/${kbId}/cost`).then((spent) => {
    const parts = [["in all", spent], ["searches", spent.searches], ...spent.jobs.map((each) => [`generation ${each.generation ?? "?"}`, each])];
    const of = (rows, first) => [[first, ([name]) => name], ...columns.map(([head, cell, kind]) => [head, ([, row]) => cell(row), kind])];
    fill(element, table("What embedding cost", of(parts, "Of"), parts), h("h2", {}, "By day (UTC)"),
      table("The newest first", of(spent.days, "Day"), spent.days.map((day) => [day.day, day])));
  }, (error) => fill(element, problem(error)));
  return {element};
}

function audit(kbId) {
  return asked(kbId, async (status) => {
    const columns = [
      ["When", (event) => time(event.at)], ["What", (event) => words(event.type)],
      ["Who", (event) => event.value?.command?.issued_by ?? event.value?.changed_by ?? event.value?.worker ?? ""],
      ["Said", (event) => h("details", {}, h("summary", {}, summary(event)), h("pre", {tabindex: "0"}, JSON.stringify(event.value, null, 2)))],
    ];
    const of = (path) => async (after) => {
      const found = await get(`${path}${query({after})}`);
      return [found.events, found.next_after];
    };
    return [h("h2", {}, "The job"), await listed(`Job ${status.job_id}, the oldest first`, columns, of(`/jobs/${status.job_id}/events`)),
      h("h2", {}, "The knowledge base"), await listed("Who defined, vacuumed, deleted it", columns, of(`/kb/${kbId}/events`))];
  });
}

const summary = ({value}) => words(["action", "state", "outcome", "reason", "dependency"].map((name) => value?.[name]).filter(Boolean).join(", ") || "all of it");

function definition(kbId) {
  const shown = h("pre", {tabindex: "0", "aria-label": "Definition"});
  const remove = h("button", {type: "button", class: "danger", onclick: async ({target}) => {
    if (await confirmed(`Delete ${kbId} and all its objects?`, "Delete")) {
      await act(target, async () => { await call("DELETE", `/kb/${kbId}`); location.hash = "#/"; }, `${kbId} is deleted.`);
    }
  }}, "Delete");
  return {element: h("div", {}, shown, h("div", {class: "actions"}, remove)), changed: () => {
    const kb = known.kbs.get(kbId);
    fill(shown, kb ? JSON.stringify(kb.definition, null, 2) : "");
  }};
}
