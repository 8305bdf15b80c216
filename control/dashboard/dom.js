/** Elements. Everything shown is a text node: no markup is ever made of what a site or a server says. */

import {number, plural, words} from "/dashboard/format.js";

/** h("p", {class: "faint"}, "text", child…): attributes, `on…` listeners; null and false children are left out. */
export const h = (tag, attributes, ...children) => built(document.createElement(tag), attributes, children);
/** The same of an SVG's parts. */
export const s = (tag, attributes, ...children) => built(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function built(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex='0']";

/** Anew where what it tells has changed; who was on its third link is on its third link again, and as far to the right. */
export function refill(element, told, make) {
  const key = JSON.stringify(told ?? null);
  if (element.told === key) return;
  element.told = key;
  const focused = [...element.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
  const right = [...element.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
  fill(element, make());
  for (const [index, each] of element.querySelectorAll(".scroll").entries()) each.scrollLeft = right[index] ?? 0;
  if (focused >= 0) element.querySelectorAll(FOCUSABLE)[focused]?.focus({preventScroll: true});
}

const KINDS = {
  completed: "good", completed_with_errors: "warn", running: "busy", queued: "busy", resuming: "busy", pausing: "warn",
  paused: "warn", stalled: "bad", needs_review: "warn", failed: "bad", cancelling: "bad", fetched: "good", kept: "warn",
  gone: "bad", published: "good", open: "busy", waiting: "warn", retried: "busy", healed: "good", added: "good",
  changed: "busy", removed: "bad", found: "good", unreachable: "bad",
};

export const badge = (code) => h("span", {class: `badge ${Object.hasOwn(KINDS, code) ? KINDS[code] : "plain"}`}, words(code));
export const time = (text) => (text ? h("time", {datetime: text, title: text}, new Date(text).toLocaleString()) : "–");
export const faint = (...children) => h("p", {class: "faint"}, ...children);
export const note = (kind, ...children) => h("div", {class: `note ${kind}`}, ...children);
export const problem = (error) => h("div", {class: "note bad", role: "alert"}, h("p", {}, error.message));
export const card = (title, ...children) => h("section", {class: "card"}, title && h("h2", {}, title), ...children);

/** Said to those whose role is below `role`, in place of what has the attribute `data-needs`. */
export const lacks = (role, ...children) => h("p", {class: "faint", "data-lacks": role}, ...children);

/** Whether who is logged in may define knowledge bases; where nobody is asked, everybody may. */
export const defines = () => !["read", "operate"].includes(document.documentElement.dataset.role);

/** A page of the web; its own words may not look like ours, so it is opened apart. */
export const outside = (url, text = url) => h("a", {href: /^https?:/.test(url) ? url : null, title: url, rel: "noreferrer noopener", target: "_blank"}, text);

/** columns: [[heading, row => cell, "number"|"url"|undefined]…]; rows may grow by `table.more(rows)`. */
export function table(caption, columns, rows, empty = "Nothing yet.") {
  const body = h("tbody");
  const line = (row) => h("tr", {}, columns.map(([, cell, kind]) => h("td", {class: kind}, cell(row))));
  const none = h("tr", {}, h("td", {colspan: columns.length, class: "none"}, empty));
  const element = h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": caption},
    h("table", {}, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, columns.map(([head, , kind]) => (head ? h("th", {scope: "col", class: kind}, head) : h("td", {}))))), body));
  element.more = (added) => { none.remove(); body.append(...added.map(line)); };
  if (rows.length) element.more(rows); else body.append(none);
  return element;
}

/** Big figures beside each other: [[name, value]…]. */
export const tiles = (entries) => h("dl", {class: "tiles"}, entries.map(([name, value, kind]) => h("div", {class: kind}, h("dt", {}, name), h("dd", {}, value))));
/** Small ones below each other. */
export const figures = (entries) => h("dl", {class: "figures"}, entries.map(([name, value, kind]) => h("div", {}, h("dt", {}, name), h("dd", {class: kind}, value))));

let bars = 0;

/** A bar with its words; `set(done, all)`: all is 0 or less where it is not known yet. */
export function bar(name, kind) {
  const id = `bar-${++bars}`;
  const said = h("span");
  const progress = h("progress", {id, max: 100, value: 0, class: kind});
  const element = h("div", {class: "bar"}, h("label", {for: id}, h("span", {}, name), said), progress);
  element.set = (done, all, unit) => {
    progress.max = Math.max(all, 1);
    progress.value = Math.min(done, all);
    fill(said, `${number(done)} of ${plural(all, unit)}`);
  };
  return element;
}

/** How much of the most, beside its number. */
export function level(value, most) {
  const width = most > 0 ? Math.max(value > 0 ? 2 : 0, (60 * value) / most) : 0;
  return h("span", {class: "levelled"}, s("svg", {class: "level", viewBox: "0 0 60 8", "aria-hidden": "true"}, s("rect", {width: 60, height: 8, rx: 2}), s("rect", {class: "full", width, height: 8, rx: 2})), number(value));
}

/** Says something in passing, also to screen readers. */
export function say(text, kind = "") {
  const line = h("p", {class: kind}, text);
  document.getElementById("said").append(line);
  setTimeout(() => line.remove(), 6000);
}

/** Resolves to whether the person goes on. */
export function confirmed(question, action) {
  return new Promise((resolve) => {
    const asked = h("p", {id: "asked"}, question);
    const dialog = h("dialog", {"aria-labelledby": "asked", onclose: () => { dialog.remove(); resolve(dialog.returnValue === "yes"); }},
      h("form", {method: "dialog"}, asked,
        h("div", {class: "actions"},
          h("button", {value: "no", class: "quiet", autofocus: true}, "Back"),
          h("button", {value: "yes", class: "danger"}, action))));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A button that does its work once at a time, and says what came of it; it keeps the focus meanwhile. */
export function button(label, work, {kind, question, done, ...attributes} = {}) {
  const element = h("button", {type: "button", class: kind, ...attributes, onclick: async () => {
    if (element.ariaBusy === "true") return;
    if (question && !(await confirmed(question, label))) return;
    element.ariaBusy = "true";
    try {
      await work();
      if (done) say(done);
    } catch (error) {
      say(error.message, "bad");
    } finally {
      element.ariaBusy = "false";
    }
  }}, label);
  return element;
}

/** A table of rows that are asked for page by page: `ask(after)` gives [rows, the next `after` or null]. */
export async function listed(caption, columns, ask, empty) {
  let [rows, after] = await ask(null);
  const list = table(caption, columns, rows, empty);
  const more = button("More", async () => {
    [rows, after] = await ask(after);
    list.more(rows);
    more.hidden = after === null;
  }, {kind: "quiet"});
  more.hidden = after === null;
  return h("div", {}, list, more);
}

const [AGAIN_MS, UNWELL_MS, SHARE] = [1000, 5000, 10];

/** Shows what `ask()` gives, or why it can't; `again()` asks anew, at most once a second and a tenth of the time.
 *  What is wrong with Headrace is over some time, so it goes on to ask by itself; what was wrongly asked for stays wrong. */
export function loaded(ask) {
  const element = h("div", {"aria-busy": "true"}, faint("Loading…"));
  let asking = false, wanted = false, times = 0;
  element.again = async () => {
    wanted = true;
    if (asking) return;
    asking = true;
    while (wanted) {
      wanted = false;
      const began = performance.now();
      try {
        const shown = await ask();
        refill(element, ++times, () => shown);
      } catch (error) {
        refill(element, error.message, () => problem(error));
        if ((error.status ?? 500) >= 500) setTimeout(() => element.isConnected && element.again(), UNWELL_MS);
      }
      element.ariaBusy = "false";
      if (wanted) await new Promise((resume) => setTimeout(resume, Math.max(AGAIN_MS, SHARE * (performance.now() - began))));
    }
    asking = false;
  };
  return element;
}
