/** Generations and the jobs that made them, what changed between two, and going back. */

import {h, badge, button, card, faint, listed, loaded, outside, table, tiles, time} from "/dashboard/dom.js";
import {dollars, duration, number, words} from "/dashboard/format.js";
import {get, post, query} from "/dashboard/api.js";

export function generations(kbId) {
  let told = null, inReview = false, comparable = false;
  const ends = {from: "", to: ""};
  const changes = loaded(() => (comparable || ends.from || ends.to ? changed(kbId, ends) : faint("Nothing was published since: choose two generations.")));
  const element = loaded(async () => {
    const [{generations: all, vacuum}, {jobs}] = await Promise.all([get(`/kb/${kbId}/generations`), get(`/kb/${kbId}/jobs`)]);
    const published = all.filter((each) => each.state === "published");
    comparable = published.length > 1 || inReview;
    changes.again();
    const job = (each) => jobs.find((job) => job.job_id === each.job_id);
    const rollback = button("Roll back", () => post(`/kb/${kbId}/rollback`, {generation: published[0].generation}), {
      kind: "danger", question: `Undo generation ${published[0]?.generation} of ${kbId}? Searches see the one before again.`, done: "Roll back: asked for.", "data-needs": "operate",
    });
    const clear = button("Vacuum", () => post(`/kb/${kbId}/vacuum`, {}), {
      kind: "quiet", question: `Delete what only older generations of ${kbId} show? They can't be searched or gone back to after.`, done: "Vacuum: asked for.", "data-needs": "admin",
    });
    return [
      card("Generations", table("The newest first", [
        ["No.", (each) => number(each.generation), "number"], ["State", (each) => [badge(each.state), " ", each.searched && badge("searched")]], ["Built on", (each) => number(each.base), "number"],
        ["Job", (each) => (job(each) ? badge(job(each).status) : "–")], ["Pages", (each) => number(job(each)?.crawl.pages_crawled), "number"], ["Chunks sent", (each) => number(job(each)?.metrics.chunks_processed), "number"],
        ["Took", (each) => took(job(each)), "number"], ["Cost", (each) => (job(each) ? dollars(job(each).cost.usd) : "–"), "number"], ["When", (each) => time(each.changed_at)], ["Why", (each) => each.reason ?? "", "text"],
      ], all, "No generation yet."),
      vacuum && faint(`Those below ${vacuum.below} are cleared away.`),
      published.length > 1 && h("div", {class: "actions"}, clear, rollback)),
      all.length > 1 && h("section", {class: "card"}, h("h2", {}, "What changed"), compare(all, ends, () => changes.again()), changes),
    ];
  });
  return {element, changed: (status, its) => {
    const now = JSON.stringify([its?.published_generation, status?.status, status?.generation]);
    if (now !== told) { [told, inReview] = [now, status?.status === "needs_review"]; element.again(); }
  }};
}

function took(job) {
  return job?.finished_at && job.started_at ? duration((new Date(job.finished_at) - new Date(job.started_at)) / 1000) : "–";
}

function compare(all, ends, again) {
  const chosen = (name, label) => [h("div", {}, h("label", {for: name}, label), h("select", {id: name, onchange: ({target}) => { ends[name] = target.value; again(); }},
    h("option", {value: ""}, "the usual one"), all.map((each) => h("option", {value: each.generation, selected: String(each.generation) === ends[name]}, each.generation))))];
  return h("form", {class: "line", onsubmit: (event) => event.preventDefault()}, chosen("from", "From generation"), chosen("to", "To generation"));
}

async function changed(kbId, ends) {
  let answer;
  const list = await listed("Pages that changed", [
    ["Page", (page) => [outside(page.url), page.title && h("div", {class: "faint"}, page.title)], "url"], ["Change", (page) => badge(page.change)],
    ["Chunks added", (page) => number(page.chunks_added), "number"], ["Removed", (page) => number(page.chunks_removed), "number"], ["Kept", (page) => number(page.chunks_kept), "number"],
    ["Why", (page) => page.reason ?? "", "text"],
  ], async (after) => {
    answer = await get(`/kb/${kbId}/changes${query({...ends, after})}`);
    return [answer.pages, answer.next_after];
  }, "No page has changed.");
  return [faint(`From generation ${answer.from_generation} to ${answer.to_generation}${answer.provisional ? ", so far" : ""}`),
    tiles(Object.entries(answer.totals).map(([name, count]) => [words(name), number(count)])), list];
}
