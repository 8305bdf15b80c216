/** Which view is shown, and what it is told. */

import {h, fill} from "/dashboard/dom.js";
import {known} from "/dashboard/api.js";
import {overview} from "/dashboard/overview.js";
import {kb} from "/dashboard/kb.js";
import {fresh} from "/dashboard/new.js";

const main = document.getElementById("main");
let view = null;

function route() {
  const [room, id, tab] = location.hash.replace(/^#\//, "").split("/").map(decodeURIComponent);
  view?.close?.();
  view = room === "kb" && id ? kb(id, tab ?? "") : room === "new" ? fresh() : overview();
  document.title = `${view.title} · Headrace`;
  fill(main, view.element);
  for (const link of document.querySelectorAll("header nav a")) {
    const here = link.getAttribute("href") === (room ? `#/${room}` : "#/");
    link.toggleAttribute("aria-current", here);
    if (here) link.setAttribute("aria-current", "page");
  }
}

known.addEventListener("changed", ({detail}) => {
  fill(document.getElementById("connection"), known.connected ? "live" : h("span", {class: "bad"}, "not connected; trying again"));
  view?.changed?.(detail);
});

const THEMES = ["system", "light", "dark"];
const theme = document.getElementById("theme");

function dress(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  theme.textContent = `Theme: ${name}`;
}

theme.addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(localStorage.getItem("theme") ?? "system") + 1) % THEMES.length];
  localStorage.setItem("theme", next);
  dress(next);
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

dress(localStorage.getItem("theme") ?? "system");
addEventListener("hashchange", () => { route(); main.focus({preventScroll: true}); scrollTo(0, 0); });
route();
known.watch();
