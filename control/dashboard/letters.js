/** Records that failed by themselves, grouped by reason, to be tried again. */

import {h, badge, button, card, faint, listed, loaded, say, table, time} from "/dashboard/dom.js";
import {number, plural} from "/dashboard/format.js";
import {get, post, query} from "/dashboard/api.js";

const GROUPED = 1000;

export function deadLetters(kbId) {
  let told = null;
  const retry = async (which) => {
    const answer = await post("/dead-letters/retry", which);
    say(answer.retried ? `${plural(answer.retried, "record")} tried again.` : answer.not_retried[0]?.reason ?? "Nothing was left to retry.");
    await element.again();
  };
  const again = (which, label) => button("Retry", () => retry(which), {kind: "quiet small", "aria-label": label, "data-needs": "operate"});
  const element = loaded(async () => {
    const waiting = (await get(`/dead-letters${query({kb: kbId, state: "waiting", limit: GROUPED})}`)).dead_letters;
    const all = await listed("By place on the topic of dead letters", [
      ["Place", (letter) => place(letter), "number"], ["State", (letter) => badge(letter.state)], ["Stage", (letter) => letter.stage],
      ["Why", (letter) => letter.reason, "text"], ["When", (letter) => time(letter.dead_lettered_at)], ["Record", record],
      ["", (letter) => letter.state === "waiting" && again({places: [letter.place]}, `Retry ${place(letter)}`)],
    ], async (after) => {
      const found = await get(`/dead-letters${query({kb: kbId, after})}`);
      return [found.dead_letters, found.next_after];
    }, "No record has failed.");
    return [
      waiting.length > 0 && card("Waiting, by reason", table("The most frequent first", [
        ["Why", ([reason]) => reason, "text"], ["Records", ([, letters]) => number(letters.length), "number"],
        ["", ([reason, letters]) => again({places: letters.map((letter) => letter.place)}, `Retry: ${reason}`)],
      ], grouped(waiting)), h("div", {class: "actions"}, button("Retry all that wait", () => retry({kb_id: kbId}), {"data-needs": "operate"})),
      waiting.length === GROUPED && faint(`The first ${number(GROUPED)} are counted here.`)),
      card("All", all),
    ];
  });
  return {element, changed: (status) => {
    const now = JSON.stringify([status?.job_id, status?.metrics.chunks_failed, status?.status]);
    if (now !== told) { told = now; element.again(); }
  }};
}

const place = ({place: {partition, offset}}) => `${partition}/${offset}`;

function grouped(letters) {
  const reasons = new Map();
  for (const letter of letters) reasons.set(letter.reason, [...(reasons.get(letter.reason) ?? []), letter]);
  return [...reasons].sort(([, one], [, other]) => other.length - one.length);
}

function record(letter) {
  const shown = loaded(async () => h("pre", {tabindex: "0"}, JSON.stringify(await get(`/dead-letters/${place(letter)}`), null, 2)));
  return h("details", {ontoggle: ({target}) => { if (target.open) shown.again(); }}, h("summary", {}, "Show"), shown);
}
