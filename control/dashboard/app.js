/** Which view is shown, and what it is told. */

import {h, fill, note} from "/dashboard/dom.js";
import {known} from "/dashboard/api.js";
import {overview} from "/dashboard/overview.js";
import {kb} from "/dashboard/kb.js";
import {fresh} from "/dashboard/new.js";
import {spending} from "/dashboard/cost.js";
import {signedIn, login} from "/dashboard/login.js";
import {forget} from "/dashboard/definition.js";

const main = document.getElementById("main");
const ROOMS = {"": overview, new: fresh, cost: spending};
let view = null;

function route() {
  if (view?.asks) return;
  const [room, id = "", tab = "", ...more] = address();
  view?.close?.();
  view = (more.length ? null : room === "kb" && id ? kb(id, tab) : !id && Object.hasOwn(ROOMS, room) ? ROOMS[room]() : null) ?? nowhere();
  document.title = `${view.title} · Headrace`;
  fill(main, view.element);
  showTab();
  for (const link of document.querySelectorAll("header nav a")) {
    if (link.getAttribute("href") === `#/${room}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** The words of the address; none that means anything where it can't be read. */
function address() {
  if (!location.hash.startsWith("#/")) return [""];
  try {
    return location.hash.slice(2).split("/").map(decodeURIComponent);
  } catch {
    return [null];
  }
}

const nowhere = () => ({
  title: "No such page",
  element: note("warn", h("h1", {}, "There is no such page"), h("p", {}, h("a", {href: "#/"}, "See the knowledge bases that there are"), ".")),
});

/** Where not all rooms fit, the one that is shown is among those that do. */
function showTab() {
  const tabs = main.querySelector("nav.tabs"), tab = tabs?.querySelector("[aria-current]");
  if (tab) tabs.scrollLeft = tab.offsetLeft - tabs.offsetLeft - (tabs.clientWidth - tab.offsetWidth) / 2;
}

function enter() {
  view = null;
  route();
  known.watch();
  tellCaller();
}

function tellCaller() {
  signedIn(document.getElementById("caller"), () => { forget(); known.leave(); }).then(() => view?.changed?.(null));
}

const line = document.getElementById("connection"), away = document.getElementById("away");
const AWAY_AFTER_MS = 2000;
let lost = null;

/** A note beside the line at the top, where the connection isn't back at once: what is shown grows old. */
function tellLost() {
  const since = new Date();
  lost ??= setTimeout(() => {
    fill(away, h("p", {}, h("strong", {}, "Headrace can't be reached, or isn't ready. "), known.told ? `What you see is as of ${since.toLocaleTimeString()}. ` : "",
      "This page goes on by itself once control is back."));
    away.hidden = false;
  }, AWAY_AFTER_MS);
}

function tellFound() {
  clearTimeout(lost);
  lost = null;
  away.hidden = true;
}

known.addEventListener("changed", ({detail}) => view?.changed?.(detail));
known.addEventListener("renewed", tellCaller);
known.addEventListener("line", () => {
  line.className = known.connected ? "live" : "lost";
  line.textContent = known.connected ? "Live" : "Offline";
  if (known.connected) tellFound(); else tellLost();
});

known.addEventListener("login", () => {
  if (view?.asks) return;
  view?.close?.();
  view = {...login(enter), asks: true};
  document.title = `${view.title} · Headrace`;
  fill(document.getElementById("caller"));
  line.className = line.textContent = "";
  tellFound();
  fill(main, view.element);
  view.shown();
});

const THEMES = ["system", "light", "dark"];
const theme = document.getElementById("theme");

let dressed = "system";

function dress(name) {
  dressed = name;
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  theme.textContent = `Theme: ${name}`;
}

/** Where a browser keeps nothing for pages, the theme lasts as long as this one. */
function kept() {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
}

function keep(name) {
  try {
    localStorage.setItem("theme", name);
  } catch { /* see above */ }
}

theme.addEventListener("click", () => {
  dress(THEMES[(THEMES.indexOf(dressed) + 1) % THEMES.length]);
  keep(dressed);
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

dress(THEMES.find((name) => name === kept()) ?? "system");
addEventListener("hashchange", () => { route(); main.focus({preventScroll: true}); scrollTo(0, 0); });
enter();
