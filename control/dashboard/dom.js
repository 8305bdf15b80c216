/** Elements, words and numbers. Everything shown is a text node: no markup is ever made of what a site or a server says. */

/** h("p", {class: "faint"}, "text", child…): attributes, `on…` listeners; null and false children are left out. */
export function h(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "line", "text", "g", "title"].includes(tag) && attributes.svg !== false;
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false || name === "svg") continue;
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

const NUMBERS = new Intl.NumberFormat("en");
const KINDS = {
  completed: "good", completed_with_errors: "warn", running: "busy", queued: "busy", resuming: "busy", pausing: "warn",
  paused: "warn", stalled: "bad", needs_review: "warn", failed: "bad", cancelling: "bad", cancelled: "faint",
  fetched: "good", unchanged: "faint", published: "good", undone: "faint", open: "busy", waiting: "warn", healed: "good",
};

export const number = (value) => (value === null || value === undefined ? "–" : NUMBERS.format(value));
export const words = (code) => String(code).replaceAll("_", " ");
export const badge = (code) => h("span", {class: `badge ${KINDS[code] ?? "faint"}`}, words(code));
export const time = (text) => (text ? h("time", {datetime: text, title: text}, new Date(text).toLocaleString()) : "–");

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.round(seconds);
  const [hours, minutes, left] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${left} s` : `${left} s`;
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [value, unit] = [count, 0];
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${value >= 10 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function dollars(usd) {
  if (usd === null || usd === undefined) return "unknown";
  if (usd >= 1 || usd === 0) return `$${usd.toFixed(2)}`;
  return usd < 0.0001 ? `$${usd.toFixed(6)}` : `$${usd.toFixed(4)}`;
}

/** columns: [[heading, row => cell, "number"|"url"|undefined]…]; rows may grow by `table.more(rows)`. */
export function table(caption, columns, rows, empty = "Nothing yet.") {
  const body = h("tbody");
  const line = (row) => h("tr", {}, columns.map(([, cell, kind]) => h("td", {class: kind}, cell(row))));
  const none = h("tr", {}, h("td", {colspan: columns.length, class: "faint"}, empty));
  const element = h("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": caption},
    h("table", {}, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, columns.map(([head, , kind]) => h("th", {scope: "col", class: kind}, head)))), body));
  element.more = (added) => { none.remove(); body.append(...added.map(line)); };
  if (rows.length) element.more(rows); else body.append(none);
  return element;
}

export function tiles(entries) {
  return h("dl", {class: "tiles"}, entries.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

let bars = 0;

/** A bar with its words; `set(done, all)`: all is 0 or less where it is not known yet. */
export function bar(name) {
  const id = `bar-${++bars}`;
  const said = h("span");
  const progress = h("progress", {id, max: 100, value: 0});
  const element = h("div", {class: "bar"}, h("label", {for: id}, h("span", {}, name), said), progress);
  element.set = (done, all) => {
    progress.max = Math.max(all, 1);
    progress.value = Math.min(done, all);
    fill(said, `${number(done)} of ${number(all)}`);
  };
  return element;
}

/** Says something in passing, also to screen readers. */
export function say(text) {
  const line = h("p", {}, text);
  document.getElementById("said").append(line);
  setTimeout(() => line.remove(), 6000);
}

export const problem = (error) => h("div", {class: "note bad", role: "alert"}, h("p", {}, error.message));

/** Resolves to whether the person goes on. */
export function confirmed(question, action) {
  return new Promise((resolve) => {
    const dialog = h("dialog", {onclose: () => { dialog.remove(); resolve(dialog.returnValue === "yes"); }},
      h("form", {method: "dialog"}, h("p", {}, question),
        h("div", {class: "actions"},
          h("button", {value: "no", class: "quiet", autofocus: true}, "Back"),
          h("button", {value: "yes", class: "danger"}, action))));
    document.body.append(dialog);
    dialog.showModal();
  });
}
