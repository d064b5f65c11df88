/** Maps on a canvas; curves and paths in SVG, at the size that they are shown. */

import { css, DASHES, mapColour, stepColour } from "./colours.mjs";

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 52, BELOW = 40, ABOVE = 10, RIGHT = 20;

// Looked up, since a map of 154 checkpoints has 23,716 cells, drawn at every move.
const SHADES = Array.from({ length: 256 }, (_, i) => Uint8Array.of(...mapColour(i / 255).map(Math.round), 255));
const shade = (cosine, lowest) => Math.round(255 * Math.min(1, Math.max(0, (cosine - lowest) / (1 - lowest))));

/** An element of SVG with attributes and children. */
function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Of labels, about so many that none runs into the next: their indices. */
export function ticks(count, most) {
  if (count <= most) return Array.from({ length: count }, (_, i) => i);
  const stride = Math.ceil((count - 1) / (most - 1));
  return Array.from({ length: Math.floor((count - 1) / stride) + 1 }, (_, i) => i * stride);
}

/** Round numbers from low to high, four or five of them. */
function round(low, high) {
  const rough = (high - low) / 4, size = 10 ** Math.floor(Math.log10(rough));
  const stride = [1, 2, 2.5, 5, 10].find((factor) => factor * size >= rough) * size, found = [];
  for (let k = Math.ceil(low / stride - 1e-9); k * stride <= high * (1 + 1e-9); k++) found.push(k * stride);
  return found;
}

export const written = (x) =>
  x !== 0 && (Math.abs(x) >= 1e5 || Math.abs(x) < 1e-3) ? x.toExponential(1) : String(+x.toPrecision(4));

/**
 * A map: cosines between what is kept, light at `lowest`.
 * @returns {(x: number, y: number) => [number, number]|null} the cell under a point of the canvas
 */
export function drawMap(canvas, { cosine, kept }, { lowest, labels, marked, origin, ink, unit }) {
  const width = canvas.clientWidth, scale = window.devicePixelRatio || 1, k = kept.length;
  const side = width - LEFT - RIGHT, height = side + ABOVE + BELOW + 44;
  canvas.width = width * scale;
  canvas.height = height * scale;
  canvas.style.aspectRatio = `${width} / ${height}`;
  const c = canvas.getContext("2d");
  c.scale(scale, scale);
  c.font = "12px system-ui, sans-serif";
  c.fillStyle = c.strokeStyle = ink;
  c.textBaseline = "middle";
  if (!k) {
    c.fillText("nothing here has a direction", LEFT, ABOVE + 20);
    return () => null;
  }
  const cells = new OffscreenCanvas(k, k), pixels = cells.getContext("2d"), image = pixels.createImageData(k, k);
  for (let i = 0; i < k * k; i++) image.data.set(SHADES[shade(cosine[i], lowest)], 4 * i);
  pixels.putImageData(image, 0, 0);
  c.imageSmoothingEnabled = false;
  c.drawImage(cells, LEFT, ABOVE, side, side);
  const cell = side / k, middle = (i) => (i + 0.5) * cell;
  for (const i of ticks(k, Math.floor(side / 48))) {
    c.textAlign = "right";
    c.fillText(labels[kept[i]], LEFT - 6, ABOVE + middle(i), LEFT - 8);
    c.textAlign = "center";
    c.fillText(labels[kept[i]], LEFT + middle(i), ABOVE + side + 12);
  }
  c.fillText(unit, LEFT + side / 2, ABOVE + side + 28);
  drawScale(c, LEFT, ABOVE + side + 42, side, lowest);
  outline(c, kept, cell, side, marked, origin);
  return (x, y) => {
    const i = Math.floor((y - ABOVE) / cell), j = Math.floor((x - LEFT) / cell);
    return i >= 0 && j >= 0 && i < k && j < k ? [kept[i], kept[j]] : null;
  };
}

/** The colours, with the cosines that they stand for. */
function drawScale(c, x, y, width, lowest) {
  for (let i = 0; i < width; i++) {
    c.fillStyle = css(mapColour(i / width));
    c.fillRect(x + i, y, 1.5, 10);
  }
  c.fillStyle = c.strokeStyle;
  for (const share of [0, 0.5, 1]) {
    c.textAlign = share === 0 ? "left" : share === 1 ? "right" : "center";
    c.fillText((lowest + share * (1 - lowest)).toFixed(2), x + share * width, y + 20);
  }
}

/** A frame around the row and the column that are looked at, and a mark where it is seen from. */
function outline(c, kept, cell, side, marked, origin) {
  c.lineWidth = 2;
  if (marked) {
    const [i, j] = marked.map((t) => kept.indexOf(t));
    c.strokeStyle = "#0072b2";
    if (i >= 0) c.strokeRect(LEFT, ABOVE + i * cell, side, Math.max(cell, 3));
    if (j >= 0) c.strokeRect(LEFT + j * cell, ABOVE, Math.max(cell, 3), side);
  }
  if (origin < 0) return;
  const at = kept.filter((t) => t < origin).length * cell;
  c.strokeStyle = "#d98200";
  c.beginPath();
  c.arc(LEFT + at, ABOVE + at, 6, 0, 7);
  c.stroke();
}

/**
 * Curves over places that share an axis.
 * @param {SVGElement} box
 * @param {{name: string, places: number[], values: number[], isGrey?: boolean}[]} curves
 * @returns {(x: number) => number} the place under a point
 */
export function drawCurves(box, curves, { labels, range, isLogarithmic, marks = [], level, title, unit }) {
  const width = box.clientWidth, on = isLogarithmic ? Math.log10 : (x) => x;
  const column = 44 + 7 * Math.max(...curves.map(({ name }) => name.length));
  const columns = Math.max(1, Math.floor((width - LEFT) / column)), legend = 18 * Math.ceil(curves.length / columns);
  const height = Math.min(220, Math.max(160, width * 0.5)) + legend;
  const shown = curves.flatMap(({ values }) => values.filter(Number.isFinite)).filter((x) => !isLogarithmic || x > 0);
  const [low, high] = range ?? [Math.min(...shown), Math.max(...shown)].map((x, i) => x * (i ? 1.05 : isLogarithmic ? 0.9 : 0));
  const last = labels.length - 1, top = ABOVE + legend + 14, bottom = height - BELOW;
  const X = (place) => LEFT + ((width - LEFT - RIGHT) * place) / Math.max(last, 1);
  const Y = (value) => bottom - ((bottom - top) * (on(value) - on(low))) / (on(high) - on(low) || 1);
  box.replaceChildren(svg("title", {}, title));
  box.setAttribute("viewBox", `0 0 ${width} ${height}`);
  box.style.aspectRatio = `${width} / ${height}`;
  const text = (x, y, words, anchor = "middle") => box.append(svg("text", { x, y, "text-anchor": anchor }, words));
  text(LEFT, ABOVE + 8, title, "start");
  for (const value of range ? [0, 1, 2, 3, 4].map((q) => low + (q / 4) * (high - low)) : isLogarithmic ? decades(low, high) : round(low, high)) {
    box.append(svg("line", { x1: LEFT, x2: width - RIGHT, y1: Y(value), y2: Y(value), class: value === level ? "level" : "grid" }));
    text(LEFT - 6, Y(value) + 4, written(value), "end");
  }
  for (const place of ticks(labels.length, Math.floor((width - LEFT) / 60))) text(X(place), bottom + 16, labels[place]);
  text((LEFT + width - RIGHT) / 2, height - 6, unit);
  curves.forEach(({ name, places, values, isGrey }, which) => {
    const dash = DASHES[which % DASHES.length];
    const x = LEFT + (which % columns) * column, y = ABOVE + 24 + 18 * Math.floor(which / columns);
    const look = { class: isGrey ? "curve null" : `curve c${which}`, "stroke-dasharray": dash };
    box.append(svg("path", { d: broken(places, values, X, Y), ...look }));
    box.append(svg("line", { x1: x, x2: x + 26, y1: y, y2: y, ...look }));
    text(x + 32, y + 4, name, "start");
  });
  for (const place of marks) box.append(svg("line", { x1: X(place), x2: X(place), y1: top, y2: bottom, class: "mark" }));
  return (x) => Math.min(last, Math.max(0, Math.round(((x - LEFT) / (width - LEFT - RIGHT)) * last)));
}

const decades = (low, high) => {
  const found = [];
  for (let k = Math.ceil(Math.log10(low)); k <= Math.log10(high); k++) found.push(10 ** k);
  return found.length > 1 ? found : [low, high];
};

/** A line that has gaps where there are no numbers. */
function broken(places, values, X, Y) {
  let isUp = true, d = "";
  values.forEach((value, i) => {
    const y = Y(value);
    if (Number.isFinite(y)) d += `${isUp ? "M" : "L"}${X(places[i]).toFixed(1)} ${y.toFixed(1)}`;
    isUp = !Number.isFinite(y);
  });
  return d;
}

/**
 * The path in a plane, light at its start.
 * @returns {{nearest: (x: number, y: number) => number|null, mark: (marked, origin) => void}} the
 *   checkpoint next to a point; and what is drawn over the path anew, while it stays
 */
export function drawPath(box, { x, y, explained }, taken, { labels, title }) {
  const width = box.clientWidth, last = taken.length - 1;
  const low = [Math.min(...x), Math.min(...y)], high = [Math.max(...x), Math.max(...y)];
  const across = high[0] - low[0] || 1, up = high[1] - low[1], unit = Math.min((width - 60) / across, width / (up || 1));
  const height = Math.max(0.4 * width, unit * up) + 90;
  const X = (i) => width / 2 + unit * (x[i] - (low[0] + high[0]) / 2);
  const Y = (i) => (height + 20) / 2 - unit * (y[i] - (low[1] + high[1]) / 2);
  box.replaceChildren(svg("title", {}, title));
  box.setAttribute("viewBox", `0 0 ${width} ${height}`);
  box.style.aspectRatio = `${width} / ${height}`;
  box.append(svg("text", { x: 8, y: ABOVE + 8 }, "the path in its plane"));
  box.append(svg("text", { x: 8, y: height - 8 }, `first two components: ${explained.map((share) => `${(100 * share).toFixed(0)} %`).join(" and ")} of the variance`));
  box.append(svg("path", { d: taken.map((_, i) => `${i ? "L" : "M"}${X(i).toFixed(1)} ${Y(i).toFixed(1)}`).join(""), class: "way" }));
  const radius = (i) => (i === 0 || i === last ? 5.5 : 3.5);
  taken.forEach((t, i) => {
    const look = { cx: X(i), cy: Y(i), r: radius(i), fill: css(stepColour(i / Math.max(last, 1))), class: "point" };
    box.append(svg("circle", look, svg("title", {}, String(labels[t]))));
  });
  for (const [i, word] of [[0, "start"], [last, "end"]]) {
    const isRight = X(i) > width - 50;
    box.append(svg("text", { x: X(i) + (isRight ? -9 : 9), y: Y(i) - 9, "text-anchor": isRight ? "end" : "start" }, word));
  }
  const over = svg("g");
  box.append(over);
  const mark = (marked, origin) => {
    const from = taken.indexOf(origin), places = [...new Set(marked ?? [])].map((t) => taken.indexOf(t)).filter((i) => i >= 0);
    const lines = from < 0 ? [] : places.map((i) => svg("line", { x1: X(from), y1: Y(from), x2: X(i), y2: Y(i), class: "mark" }));
    const rings = places.map((i) => svg("circle", { cx: X(i), cy: Y(i), r: 7, class: "marked" }));
    over.replaceChildren(...lines, ...rings, ...(from < 0 ? [] : [svg("circle", { cx: X(from), cy: Y(from), r: 9, class: "origin" })]));
  };
  const nearest = (px, py) => {
    const away = taken.map((_, i) => Math.hypot(X(i) - px, Y(i) - py)), found = away.indexOf(Math.min(...away));
    return away[found] < 24 ? taken[found] : null;
  };
  return { nearest, mark };
}
