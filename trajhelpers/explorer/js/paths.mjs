/** The path in a plane. */

import { css, stepColour } from "./colours.mjs";
import { ABOVE, pixelsPerUnit } from "./drawing.mjs";
import { asImage, svg } from "./elements.mjs";

/**
 * Light at its start.
 * @param {SVGSVGElement} box
 * @param {{x: number[], y: number[]}} plane  of all that there is room for
 * @param {number[]} taken  as many of them, from the first, as are drawn
 * @param {{labels: (number|string)[], title: string}} look
 * @returns {{nearest: (x: number, y: number) => number|null,
 *   mark: (marked: number[]|null, origin: number) => void}} the checkpoint next to a point; and what
 *   is drawn over the path anew, while it stays
 */
export function drawPath(box, { x, y }, taken, { labels, title }) {
  const pixels = pixelsPerUnit(), width = box.clientWidth / pixels;
  const end = x.length - 1, last = taken.length - 1;
  const low = [Math.min(...x), Math.min(...y)], high = [Math.max(...x), Math.max(...y)];
  const across = high[0] - low[0] || 1, up = high[1] - low[1], unit = Math.min((width - 60) / across, width / (up || 1));
  const height = Math.max(0.4 * width, unit * up) + 70;
  const X = (/** @type {number} */ i) => width / 2 + unit * (x[i] - (low[0] + high[0]) / 2);
  const Y = (/** @type {number} */ i) => (height + 40) / 2 - unit * (y[i] - (low[1] + high[1]) / 2);
  box.replaceChildren();
  asImage(box, title);
  box.setAttribute("viewBox", `0 0 ${width} ${height}`);
  box.style.aspectRatio = `${width} / ${height}`;
  box.append(svg("text", { x: 8, y: ABOVE + 8 }, "the path in its plane"));
  const line = taken.map((_, i) => `${i ? "L" : "M"}${X(i).toFixed(1)} ${Y(i).toFixed(1)}`).join("");
  box.append(svg("path", { d: line, class: "way" }));
  const radius = (/** @type {number} */ i) => (i === 0 || i === last ? 5.5 : 3.5);
  taken.forEach((t, i) => {
    const look = { cx: X(i), cy: Y(i), r: radius(i), fill: css(stepColour(i / Math.max(end, 1))), class: "point" };
    box.append(svg("circle", look, svg("title", {}, String(labels[t]))));
  });
  /** @param {number} i @param {string} word */
  const name = (i, word) => {
    const isRight = X(i) > width - 50;
    box.append(svg("text", { x: X(i) + (isRight ? -9 : 9), y: Y(i) - 9, "text-anchor": isRight ? "end" : "start" }, word));
  };
  name(0, "start");
  if (last === end) name(end, "end");
  const over = svg("g");
  box.append(over);
  /** @param {number[]|null} marked @param {number} origin */
  const mark = (marked, origin) => {
    const from = taken.indexOf(origin), places = [...new Set(marked ?? [])].map((t) => taken.indexOf(t)).filter((i) => i >= 0);
    const lines = from < 0 ? [] : places.map((i) => svg("line", { x1: X(from), y1: Y(from), x2: X(i), y2: Y(i), class: "mark" }));
    const rings = places.map((i) => svg("circle", { cx: X(i), cy: Y(i), r: 7, class: "marked" }));
    over.replaceChildren(...lines, ...rings, ...(from < 0 ? [] : [svg("circle", { cx: X(from), cy: Y(from), r: 9, class: "origin" })]));
  };
  /** @param {number} px @param {number} py */
  const nearest = (px, py) => {
    const away = taken.map((_, i) => Math.hypot(X(i) - px / pixels, Y(i) - py / pixels)), found = away.indexOf(Math.min(...away));
    return away[found] < 24 ? taken[found] : null;
  };
  return { nearest, mark };
}
