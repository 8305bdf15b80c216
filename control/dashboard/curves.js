/** Crawl against index over time, as an SVG with words for who doesn't see it. */

import {h, fill, number, duration} from "/dashboard/dom.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [720, 220, 60, 22, 8];

const LINES = [
  ["found", "chunks found by the crawl", (moment) => moment.chunks_found],
  ["dealt", "chunks indexed", (moment) => moment.chunks_processed],
  ["pages", "pages read", (moment) => moment.pages],
];

/** An element with `show(moments)`: each has at_s, pages, chunks_found, chunks_processed, counted up to then. */
export function curves() {
  const element = h("figure", {class: "chart", hidden: true});
  element.show = (moments) => {
    element.hidden = moments.length < 2;
    if (!element.hidden) fill(element, drawn(moments), legend(moments.at(-1)));
  };
  return element;
}

function drawn(moments) {
  const first = moments[0].at_s, last = moments.at(-1).at_s;
  const top = Math.max(1, ...moments.flatMap((moment) => LINES.map(([, , of]) => of(moment))));
  const x = (at) => LEFT + ((WIDTH - LEFT - 8) * (at - first)) / Math.max(last - first, 0.001);
  const y = (count) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - count / top);
  const path = (of) => moments.map((moment, index) => `${index ? "L" : "M"}${x(moment.at_s).toFixed(1)} ${y(of(moment)).toFixed(1)}`).join("");
  const end = moments.at(-1);
  const said = `Over ${duration(last - first)}: ${LINES.map(([, name, of]) => `${number(of(end))} ${name}`).join(", ")}.`;
  return h("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": said},
    [0, 0.5, 1].map((share) => h("g", {},
      h("line", {class: "axis", x1: LEFT, x2: WIDTH - 8, y1: y(top * share), y2: y(top * share)}),
      h("text", {x: LEFT - 6, y: y(top * share) + 4, "text-anchor": "end"}, number(Math.round(top * share))))),
    h("text", {x: LEFT, y: HEIGHT - 6}, "0 s"),
    h("text", {x: WIDTH - 8, y: HEIGHT - 6, "text-anchor": "end"}, duration(last - first)),
    LINES.map(([name, , of]) => h("path", {class: name, d: path(of)})));
}

function legend(end) {
  return h("figcaption", {}, h("ul", {class: "legend"}, LINES.map(([name, says, of]) => h("li", {},
    h("svg", {viewBox: "0 0 32 10", "aria-hidden": "true"}, h("path", {class: name, d: "M0 5L32 5"})),
    `${says}: ${number(of(end))}`))));
}
