/** Who did what, and what came of it: every command and fact of the newest job, of the knowledge base itself, and of API tokens. */

import {h, card, listed, loaded, time} from "/dashboard/dom.js";
import {words} from "/dashboard/format.js";
import {get, query} from "/dashboard/api.js";

const COLUMNS = [
  ["When", (event) => time(event.at)], ["What", (event) => words(event.type)],
  ["Who", ({value}) => value?.issued_by ?? value?.changed_by ?? value?.retried_by ?? value?.worker ?? value?.owner ?? ""],
  ["Said", (event) => h("details", {}, h("summary", {}, summary(event)), h("pre", {tabindex: "0"}, JSON.stringify(event.value, null, 2))), "text"],
];

export function audit(kbId) {
  let told = null, jobId = null;
  const element = loaded(async () => [
    jobId && card("The job", await listed(`Job ${jobId}, the oldest first`, COLUMNS, trail(`/jobs/${jobId}/events`))),
    card("The knowledge base", await listed("Who defined, vacuumed, deleted it", COLUMNS, trail(`/kb/${kbId}/events`))),
    await seesTokens() && card("API tokens", await listed("Who made, rotated, revoked them: of all knowledge bases", COLUMNS, trail("/tokens/events"))),
  ]);
  return {element, changed: (status) => {
    const now = JSON.stringify([status?.job_id, status?.revision, status?.status]);
    if (now !== told) { [told, jobId] = [now, status?.job_id]; element.again(); }
  }};
}

async function seesTokens() {
  const {role, kbs} = await get("/whoami");
  return role === "admin" && !kbs.length;
}

const trail = (path) => async (after) => {
  const found = await get(`${path}${query({after})}`);
  return [found.events, found.next_after];
};

const summary = ({value}) => words(["name", "action", "state", "outcome", "reason", "dependency"].map((name) => value?.[name]).filter(Boolean).join(", ") || "all of it");
