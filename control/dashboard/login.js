/** Logging in with an API token: it becomes a cookie that no script can read, and is kept nowhere else. */

import {h, button, problem, fill} from "/dashboard/dom.js";
import {call, get} from "/dashboard/api.js";

/** `entered()` once the token is taken. */
export function login(entered) {
  const token = h("input", {id: "token", type: "password", autocomplete: "current-password", required: true, spellcheck: "false", "aria-describedby": "token-hint"});
  const said = h("div");
  let busy = false;
  const form = h("form", {class: "card login", onsubmit: async (event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    try {
      const given = token.value.trim();
      if (!/^[!-~]+$/.test(given)) throw new Error("This is no API token: it holds more than letters, digits, - and _.");
      await call("POST", "/login", undefined, {Authorization: `Bearer ${given}`});
      token.value = "";
      entered();
    } catch (error) {
      fill(said, problem(error));
      token.focus();
    } finally {
      busy = false;
    }
  }}, h("h1", {}, "Log in"),
  h("div", {class: "field"}, h("label", {for: "token"}, "API token"), token,
    h("p", {class: "hint", id: "token-hint"}, "Where control runs, ", h("code", {}, "headrace token create NAME --role read"), " makes one.")),
  said, h("div", {class: "actions"}, h("button", {type: "submit"}, "Log in")));
  return {element: form, title: "Log in", shown: () => token.focus()};
}

/** Who is logged in, with a way out; nothing where nobody is asked. `left()` once logged out. */
export async function signedIn(element, left) {
  const who = await get("/whoami").catch(() => ({token: null}));
  document.documentElement.dataset.role = who.role ?? "";
  fill(element, who.token !== null && [
    h("span", {title: who.kbs.length ? `Only ${who.kbs.join(", ")}` : "All knowledge bases"}, `${who.token} (${who.role})`),
    button("Log out", async () => { await call("POST", "/logout"); left(); }, {kind: "quiet small"}),
  ]);
}
