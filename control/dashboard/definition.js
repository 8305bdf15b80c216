/** A knowledge base's definition, to be changed; and its end. */

import {h, button, card, defines, faint, lacks, note, problem, refill, say} from "/dashboard/dom.js";
import {call, get} from "/dashboard/api.js";

/** What is typed and not saved, by knowledge base, with the definition that it began from: kept while this page lives,
 *  over other rooms and a login that ended. */
const drafts = new Map();

/** For who logs out. */
export const forget = () => drafts.clear();

const read = ({definition, etag}) => ({etag, text: JSON.stringify(definition, null, 2)});

export function definition(kbId) {
  let began = drafts.get(kbId)?.began ?? null, newest = null;
  const text = h("textarea", {id: "definition", rows: 24, spellcheck: "false", readonly: true, "aria-describedby": "definition-hint", oninput: () => {
    if (text.value === began.text) drafts.delete(kbId);
    else drafts.set(kbId, {began, text: text.value});
    tell();
  }});
  const unsaved = h("div", {"aria-live": "polite"}), wrong = h("div");
  const load = () => {
    drafts.delete(kbId);
    began = newest;
    if (text.value !== began.text) text.value = began.text;
    wrong.replaceChildren();
    tell();
  };
  const tell = () => {
    const typed = drafts.has(kbId), elsewhere = typed && newest.etag !== began.etag;
    refill(unsaved, [typed, elsewhere], () => (elsewhere
      ? note("warn", h("p", {}, "The definition was changed elsewhere since you began to type, so yours can't be saved over it."), button("Load the newer one", load, {kind: "quiet", question: "Load the newer one, and drop what you typed?"}))
      : typed && faint("Not saved yet. ", button("Drop it", load, {kind: "quiet small", question: "Drop what you typed?"}))));
  };
  const save = button("Save", async () => {
    wrong.replaceChildren();
    const {etag} = began;
    try {
      newest = read(await call("PUT", `/kb/${kbId}`, JSON.parse(text.value), {"If-Match": etag}));
      load();
      say("Saved.");
    } catch (error) {
      if (error.status === 412) newest = read(await get(`/kb/${kbId}`));
      tell();
      wrong.append(problem(error.status === 412 ? new Error("Nothing is saved.") : error));
    }
  }, {"data-needs": "admin"});
  const remove = button("Delete", async () => { await call("DELETE", `/kb/${kbId}`); drafts.delete(kbId); location.hash = "#/"; }, {
    kind: "danger", question: `Delete ${kbId} and all its objects?`, done: `${kbId} is deleted.`, "data-needs": "admin",
  });
  const element = card("Definition", h("label", {for: "definition"}, "As JSON, with every default filled in"), text,
    h("p", {class: "hint", id: "definition-hint"}, "What is changed here applies when the job is resumed, or to the next one."),
    lacks("admin", "A definition is changed, and a knowledge base deleted, by an administrator: your token may not."),
    unsaved, wrong, h("div", {class: "actions"}, save, remove));
  return {element, changed: (status, its) => {
    text.readOnly = !its || !defines();
    if (!its) return;
    newest = read(its);
    if (!drafts.has(kbId)) return load();
    text.value = drafts.get(kbId).text;
    tell();
  }};
}
