/** Curves in SVG, at the size that they are shown; and what all drawings share. */

import { DASHES } from "./colours.mjs";
import { asImage, svg } from "./elements.mjs";

export const LEFT = 52;
export const RIGHT = 20;
export const ABOVE = 10;
export const BELOW = 40;

/**
 * How many pixels a unit of a drawing has, whose text is 12 units high: for readers with larger
 * text all of it is larger.
 */
export const pixelsPerUnit = () =>
  Math.min(1.4, Math.max(1, parseFloat(getComputedStyle(document.documentElement).fontSize) / 16));

/**
 * Of labels, about so many that none runs into the next: their indices.
 * @param {number} count
 * @param {number} most
 */
export function ticks(count, most) {
  if (count <= most) return Array.from({ length: count }, (_, i) => i);
  const stride = Math.ceil((count - 1) / (most - 1));
  return Array.from({ length: Math.floor((count - 1) / stride) + 1 }, (_, i) => i * stride);
}

/** @param {number} x */
export const written = (x) => {
  const isFar = x !== 0 && (Math.abs(x) >= 1e5 || Math.abs(x) < 1e-3);
  return (isFar ? x.toExponential(1) : String(+x.toPrecision(4))).replace(/^-/, "−");
};

/**
 * @typedef {object} Curve
 * @property {string} name
 * @property {number[]} places
 * @property {number[]} values   NaN where there is none
 * @property {boolean} [isGrey]
 *
 * @typedef {object} Axes
 * @property {(number|string)[]} labels     of the places
 * @property {[low: number, high: number]} [range]  of the values, by default theirs
 * @property {boolean} [isLogarithmic]
 * @property {number[]} [marks]             places with a line across
 * @property {number} [level]               a value whose line is dark
 * @property {string} title
 * @property {string} unit                  of the places
 */

/**
 * Curves over places that share an axis.
 * @param {SVGSVGElement} box
 * @param {Curve[]} curves
 * @param {Axes} axes
 * @returns {(x: number) => number} the place under a point
 */
export function drawCurves(box, curves, { labels, range, isLogarithmic = false, marks = [], level, title, unit }) {
  const pixels = pixelsPerUnit(), width = box.clientWidth / pixels;
  const column = 44 + 7 * Math.max(...curves.map(({ name }) => name.length));
  const columns = Math.max(1, Math.floor((width - LEFT) / column)), legend = 18 * Math.ceil(curves.length / columns);
  const height = Math.min(220, Math.max(160, width * 0.5)) + legend;
  const [low, high] = range ?? rangeOf(curves, isLogarithmic);
  const last = labels.length - 1, top = ABOVE + legend + 20, bottom = height - BELOW;
  const on = isLogarithmic ? Math.log10 : (/** @type {number} */ x) => x;
  const X = (/** @type {number} */ place) => LEFT + ((width - LEFT - RIGHT) * place) / Math.max(last, 1);
  const Y = (/** @type {number} */ value) => bottom - ((bottom - top) * (on(value) - on(low))) / (on(high) - on(low) || 1);
  box.replaceChildren();
  asImage(box, `${title}: ${curves.map(inWords).join("; ")}`);
  box.setAttribute("viewBox", `0 0 ${width} ${height}`);
  box.style.aspectRatio = `${width} / ${height}`;
  /** @param {number} x @param {number} y @param {number|string} words */
  const text = (x, y, words, anchor = "middle") => box.append(svg("text", { x, y, "text-anchor": anchor }, String(words)));
  text(8, ABOVE + 8, title, "start");
  for (const value of isLogarithmic ? decades(low, high) : round(low, high)) {
    box.append(svg("line", { x1: LEFT, x2: width - RIGHT, y1: Y(value), y2: Y(value), class: value === level ? "level" : "grid" }));
    text(LEFT - 6, Y(value) + 4, written(value), "end");
  }
  for (const place of ticks(labels.length, Math.floor((width - LEFT) / 60))) text(X(place), bottom + 16, labels[place]);
  text((LEFT + width - RIGHT) / 2, height - 6, unit);
  curves.forEach(({ name, places, values, isGrey }, which) => {
    const dash = DASHES[which % DASHES.length];
    const x = LEFT + (which % columns) * column, y = ABOVE + 24 + 18 * Math.floor(which / columns);
    const look = { class: isGrey ? "curve null" : `curve c${which}`, "stroke-dasharray": dash };
    box.append(svg("path", { d: broken(places.map(X), values.map(Y)), ...look }));
    box.append(svg("line", { x1: x, x2: x + 26, y1: y, y2: y, ...look }));
    text(x + 32, y + 4, name, "start");
  });
  for (const place of marks) box.append(svg("line", { x1: X(place), x2: X(place), y1: top, y2: bottom, class: "mark" }));
  return (x) => Math.min(last, Math.max(0, Math.round(((x / pixels - LEFT) / (width - LEFT - RIGHT)) * last)));
}

/** @param {Curve} curve */
function inWords({ name, values }) {
  const there = values.filter(Number.isFinite);
  if (!there.length) return `${name}, none`;
  return `${name} from ${written(there[0])} to ${written(there[there.length - 1])}, between ${written(Math.min(...there))} and ${written(Math.max(...there))}`;
}

/**
 * The values of curves, with a little room.
 * @param {Curve[]} curves
 * @param {boolean} isLogarithmic
 * @returns {[low: number, high: number]}
 */
export function rangeOf(curves, isLogarithmic) {
  const shown = curves.flatMap(({ values }) => values.filter(Number.isFinite)).filter((x) => !isLogarithmic || x > 0);
  return [Math.min(...shown) * (isLogarithmic ? 0.9 : 0), Math.max(...shown) * 1.05];
}

/**
 * Round numbers from low to high, three to six of them; of a half turn its quarters.
 * @param {number} low
 * @param {number} high
 */
export function round(low, high) {
  const rough = (high - low) / 4, size = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 2.5, 5].find((factor) => factor * size >= rough) ?? 10;
  const stride = high - low === 180 ? 45 : factor * size, found = [];
  for (let k = Math.ceil(low / stride - 1e-9); k <= high / stride + 1e-9; k++) found.push(k * stride);
  return found;
}

/**
 * Powers of ten from low to high; where that is less than two, round numbers between them.
 * @param {number} low
 * @param {number} high
 */
function decades(low, high) {
  /** @type {number[]} */
  const powers = [];
  for (let k = Math.floor(Math.log10(low)); k <= Math.log10(high); k++) powers.push(10 ** k);
  const among = (/** @type {number[]} */ factors) =>
    powers.flatMap((power) => factors.map((factor) => factor * power)).filter((x) => x >= low && x <= high);
  const found = [[1], [1, 2, 5]].map(among).find(({ length }) => length > 1);
  return found ?? round(low, high);
}

/**
 * A line that has gaps where there are no numbers.
 * @param {number[]} xs
 * @param {number[]} ys
 */
function broken(xs, ys) {
  let isUp = true, d = "";
  ys.forEach((y, i) => {
    if (Number.isFinite(y)) d += `${isUp ? "M" : "L"}${xs[i].toFixed(1)} ${y.toFixed(1)}`;
    isUp = !Number.isFinite(y);
  });
  return d;
}
