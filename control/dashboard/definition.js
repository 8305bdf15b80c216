/** A knowledge base's definition, to be changed; and its end. */

import {h, button, card, problem, say} from "/dashboard/dom.js";
import {call} from "/dashboard/api.js";

export function definition(kbId) {
  const text = h("textarea", {id: "definition", rows: 24, spellcheck: "false", "aria-describedby": "definition-hint"});
  const wrong = h("div");
  let shown = null;
  const save = button("Save", async () => {
    wrong.replaceChildren();
    try {
      await call("PUT", `/kb/${kbId}`, JSON.parse(text.value));
      say("Saved.");
    } catch (error) {
      wrong.append(problem(error));
    }
  });
  const remove = button("Delete", async () => { await call("DELETE", `/kb/${kbId}`); location.hash = "#/"; }, {
    kind: "danger", question: `Delete ${kbId} and all its objects?`, done: `${kbId} is deleted.`,
  });
  const element = card("Definition", h("label", {for: "definition"}, "As JSON, with every default filled in"), text,
    h("p", {class: "hint", id: "definition-hint"}, "What is changed here applies when the job is resumed, or to the next one."), wrong, h("div", {class: "actions"}, save, remove));
  return {element, changed: (status, its) => {
    const now = its ? JSON.stringify(its.definition, null, 2) : "";
    if (text.value === (shown ?? "")) text.value = now;
    shown = now;
  }};
}
