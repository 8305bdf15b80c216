/** Curves, drawn as wide as there is room: how far crawl and index of a job had come, and how fast they were; the lag. */

import {h, s, fill, table} from "/dashboard/dom.js";
import {duration, number, rough, roundUp, short, timeStep} from "/dashboard/format.js";

const [HEIGHT, LEFT, RIGHT, TOP, BOTTOM, EDGE] = [220, 56, 12, 10, 24, 40];

const COUNTS = {
  title: "Crawl against index", empty: "The curves begin with the first page.", said: number,
  lines: [
    ["found", "Chunks found", (at) => at.chunks_found], ["dealt", "Chunks indexed", (at) => at.chunks_processed],
    ["pages", "Pages read", (at) => at.pages],
  ],
};
const RATES = {
  title: "Per second", empty: "Told once there are two moments to compare.", said: rough,
  lines: [["dealt", "Chunks indexed", (at) => at.chunks], ["pages", "Pages read", (at) => at.pages]],
};
const LAG = {
  title: "Lag since this page was opened", empty: "The curve begins with the second look.", said: number,
  lines: [["dealt", "Records to go", (at) => at.all], ["pages", "On the partition with the most", (at) => at.most]],
};
const SMOOTHED = 2;
const SPARK = {width: 120, height: 18};

/** An element with `show(moments)`: each has at_s, all (records to go), most (the same of the partition that has most). */
export const lagCurve = () => chart(LAG);

/** A small curve beside a figure: `values` [[at_s, value]…], in the order of time, up to `top`. */
export function spark(values, top) {
  const [[first], [last]] = [values[0], values.at(-1)], {width, height} = SPARK;
  const x = (at) => (width * (at - first)) / Math.max(last - first, 0.001), y = (value) => height - 1 - ((height - 2) * value) / Math.max(top, 1);
  return s("svg", {class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true"},
    s("path", {d: values.map(([at, value], index) => `${index ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("")}));
}

/** An element with `show(moments)`: each has at_s, pages, chunks_found, chunks_processed, counted up to then. */
export function curves() {
  const counts = chart(COUNTS), rates = chart(RATES), words = h("details", {class: "words"}, h("summary", {}, "The curves as a table"), h("div"));
  const element = h("div", {class: "charts"}, counts, rates, words);
  let moments = [];
  const spell = () => words.open && fill(words.lastChild, table("The job over time", [
    ["After", (at) => duration(at.at_s - moments[0].at_s), "number"], ...COUNTS.lines.map(([, name, of]) => [name, (at) => number(of(at)), "number"]),
  ], moments));
  words.addEventListener("toggle", spell);
  element.show = (told) => {
    moments = told;
    counts.show(even(told));
    rates.show(speeds(even(told)));
    spell();
  };
  element.close = () => { counts.close(); rates.close(); };
  return element;
}

/** With the moments at which nothing had changed, so that all are as far apart. */
function even(moments) {
  if (moments.length < 2) return moments;
  const step = Math.min(...moments.slice(1).map((at, index) => at.at_s - moments[index].at_s));
  return moments.flatMap((at, index) => {
    const missing = index ? Math.round((at.at_s - moments[index - 1].at_s) / step) - 1 : 0;
    return [...Array.from({length: missing}, (_, skipped) => ({...moments[index - 1], at_s: moments[index - 1].at_s + (skipped + 1) * step})), at];
  });
}

function speeds(moments) {
  return moments.slice(1).map((at, index) => {
    const [from, to] = [moments[Math.max(0, index - SMOOTHED)], moments[Math.min(moments.length - 1, index + 1 + SMOOTHED)]];
    const over = Math.max(to.at_s - from.at_s, 0.001);
    return {at_s: at.at_s, chunks: (to.chunks_processed - from.chunks_processed) / over, pages: (to.pages - from.pages) / over};
  });
}

function chart({title, lines, empty, said}) {
  const drawing = h("div", {class: "drawing"}), legend = h("ul", {class: "legend"}), when = h("span", {class: "when"});
  const element = h("figure", {class: "card chart"}, h("figcaption", {}, h("h2", {}, title), when, legend), drawing);
  let moments = [], pointed = null;
  const draw = () => {
    const at = moments[pointed] ?? moments.at(-1);
    fill(legend, lines.map(([name, says, of]) => h("li", {}, s("svg", {viewBox: "0 0 20 8", "aria-hidden": "true"}, s("path", {class: name, d: "M1 4L19 4"})),
      says, at && h("strong", {}, said(of(at))))));
    fill(when, pointed !== null && at && `after ${duration(at.at_s - moments[0].at_s)}`);
    if (moments.length < 2) fill(drawing, h("p", {class: "faint"}, empty));
    else fill(drawing, drawn(moments, lines, said, drawing.clientWidth, pointed));
  };
  drawing.addEventListener("pointermove", (event) => {
    const share = (event.clientX - drawing.getBoundingClientRect().left - LEFT) / (drawing.clientWidth - LEFT - RIGHT);
    pointed = moments.length < 2 ? null : nearest(moments, moments[0].at_s + share * (moments.at(-1).at_s - moments[0].at_s));
    draw();
  });
  drawing.addEventListener("pointerleave", () => { pointed = null; draw(); });
  const watching = new ResizeObserver(draw);
  watching.observe(drawing);
  element.show = (told) => { moments = told; draw(); };
  element.close = () => watching.disconnect();
  return element;
}

const nearest = (moments, at_s) => moments.reduce((best, at, index) => (Math.abs(at.at_s - at_s) < Math.abs(moments[best].at_s - at_s) ? index : best), 0);

function drawn(moments, lines, said, width, pointed) {
  const first = moments[0].at_s, last = moments.at(-1).at_s, high = HEIGHT - TOP - BOTTOM;
  const top = roundUp(Math.max(1, ...moments.flatMap((at) => lines.map(([, , of]) => of(at)))));
  const x = (at) => LEFT + ((width - LEFT - RIGHT) * (at - first)) / Math.max(last - first, 0.001);
  const y = (count) => TOP + high * (1 - count / top);
  const path = (of) => moments.map((at, index) => `${index ? "L" : "M"}${x(at.at_s).toFixed(1)} ${y(of(at)).toFixed(1)}`).join("");
  const floor = `L${x(last).toFixed(1)} ${TOP + high}L${LEFT} ${TOP + high}Z`;
  const words = `Over ${duration(last - first)}: ${lines.map(([, name, of]) => `${name.toLowerCase()} ${said(of(moments.at(-1)))}`).join(", ")}.`;
  const step = timeStep(last - first, Math.max(2, Math.min(6, Math.floor(width / 90))));
  const [begun] = lines, cursor = pointed === null ? null : moments[pointed];
  return s("svg", {viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": words},
    [0, 0.25, 0.5, 0.75, 1].map((share) => s("g", {},
      s("line", {class: "axis", x1: LEFT, x2: width - RIGHT, y1: y(top * share), y2: y(top * share)}),
      share % 0.5 === 0 && s("text", {x: LEFT - 8, y: y(top * share) + 4, "text-anchor": "end"}, short(top * share)))),
    Array.from({length: Math.floor((last - first) / step) + 1}, (_, part) => s("text", {
      x: x(first + step * part), y: HEIGHT - 6, "text-anchor": part === 0 ? "start" : x(first + step * part) > width - EDGE ? "end" : "middle",
    }, part ? duration(step * part) : "0")),
    s("path", {class: `area ${begun[0]}`, d: path(begun[2]) + floor}),
    lines.map(([name, , of]) => s("path", {class: name, d: path(of)})),
    cursor && [s("line", {class: "cursor", x1: x(cursor.at_s), x2: x(cursor.at_s), y1: TOP, y2: TOP + high}),
      lines.map(([name, , of]) => s("circle", {class: name, cx: x(cursor.at_s), cy: y(of(cursor)), r: 4}))]);
}
