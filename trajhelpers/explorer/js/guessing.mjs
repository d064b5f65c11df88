/** A curve that the reader draws, point by point, before the measured one is seen over it. */

import { pixelsPerUnit, round, written } from "./drawing.mjs";
import { html, svg } from "./elements.mjs";

const LEFT = 52, RIGHT = 24, ABOVE = 50, BELOW = 46, HALF = 14;

/**
 * @typedef {{question: string, x: string[], places: number[], points: number[][], means: number[], told: boolean[],
 *   range: [number, number], digits: number, xlabel: string, ylabel: string, why: string}} Curve
 *   `places` are those of x on their axis, 0 to 1; `told` of each step, whether seeds tell its direction
 * @typedef {{nearest: (x: number) => number, valueAt: (y: number) => number}} Axes
 *   which point a place on the plot belongs to, and which value
 */

/**
 * @param {Curve} data
 * @param {string} name  of this one in the document
 * @returns {HTMLElement}
 */
export function drawingOf(data, name) {
  const { x, means, range: [low, high], digits, xlabel, ylabel, why } = data;
  const guess = means.map(() => (low + high) / 2);
  let isSeen = false, isDrawn = false;
  /** @type {Axes|null} */
  let axes = null;
  const inputs = x.map((value, i) => {
    const label = `${ylabel} at ${xlabel} ${value}`.replace(/ +/g, " ");
    const ends = { min: String(low), max: String(high), step: String((high - low) / 100), value: String(guess[i]) };
    const spoken = { "aria-label": label, "aria-orientation": "vertical" };
    const input = html("input", { type: "range", name: `${name}-${i}`, ...ends, ...spoken });
    input.oninput = () => {
      guess[i] = +input.value;
      isDrawn = true;
      draw();
    };
    return input;
  });
  const picture = svg("svg", { "aria-hidden": "true" });
  const plot = html("div", { className: "plot" }, picture, ...inputs);
  const said = html("p", { className: "said", "aria-live": "polite" });
  const button = html("button", { type: "button" });
  button.onclick = () => {
    isSeen = !isSeen;
    draw();
  };

  const draw = () => {
    inputs.forEach((input, i) => {
      const measured = isSeen ? `, measured ${means[i].toFixed(digits)}` : "";
      input.setAttribute("aria-valuetext", guess[i].toFixed(digits) + measured);
    });
    button.textContent = isSeen ? "hide the measured curve" : "show the measured curve";
    const asked = ["Draw with the pointer, or set each point by the arrow keys."];
    const judged = isDrawn ? verdict(guess, data) : ["You have drawn nothing to compare it with."];
    said.replaceChildren(...(isSeen ? judged : asked));
    if (isSeen && why) said.append(` ${why}`);
    if (plot.clientWidth) axes = plotOn(picture, inputs, plot.clientWidth, guess, isSeen, data);
  };

  let isDown = false, before = guess.slice(), wasDrawn = false;
  const follow = (/** @type {PointerEvent} */ event) => {
    if (!axes) return;
    const box = plot.getBoundingClientRect(), i = axes.nearest(event.clientX - box.left);
    inputs[i].value = String(axes.valueAt(event.clientY - box.top));
    guess[i] = +inputs[i].value; // between the ends, at a step
    isDrawn = true;
    draw();
  };
  picture.onpointerdown = (event) => {
    if (!event.isPrimary) return;
    isDown = true;
    [before, wasDrawn] = [guess.slice(), isDrawn];
    picture.setPointerCapture(event.pointerId);
    // A finger that goes up or down scrolls the page, and does not draw.
    if (event.pointerType !== "touch") follow(event);
  };
  picture.onpointermove = (event) => isDown && event.isPrimary && follow(event);
  picture.onpointerup = (event) => {
    if (!event.isPrimary) return;
    if (isDown) follow(event);
    isDown = false;
  };
  picture.onpointercancel = () => {
    if (!isDown) return;
    isDown = false;
    // The first move comes before the browser takes it for scrolling.
    isDrawn = wasDrawn;
    before.forEach((value, i) => (inputs[i].value = String((guess[i] = value))));
    draw();
  };
  new ResizeObserver(draw).observe(plot);
  draw();
  const group = html("div", { role: "group", "aria-label": data.question }, plot, button, said);
  return html("div", { className: "live" }, html("p", { className: "question" }, data.question), group);
}

/**
 * How far off, and where it goes the other way; less than a hundredth of the axis is level. Where
 * seeds do not tell which way it goes, no guess is wrong.
 * @param {number[]} guess
 * @param {Curve} data
 */
function verdict(guess, { x, told, means, range: [low, high], digits, ylabel }) {
  const level = ((high - low) / 100) * (1 - 1e-9);
  const [, unit = ""] = ylabel.match(/ \((.*)\)$/) ?? [];
  const off = guess.reduce((sum, value, i) => sum + Math.abs(value - means[i]), 0) / guess.length;
  const way = (/** @type {number[]} */ values, /** @type {number} */ i) => {
    const change = values[i + 1] - values[i];
    return Math.abs(change) < level ? "hardly moves" : change < 0 ? "falls" : "rises";
  };
  const isOpen = (/** @type {number} */ i) => way(means, i) !== "hardly moves" && !told[i];
  const steps = x.slice(1).map((_, i) => i), judged = steps.filter((i) => !isOpen(i));
  const missed = judged.filter((i) => way(guess, i) !== way(means, i));
  const from = (/** @type {number} */ i) => `from ${x[i]} to ${x[i + 1]}`;
  const where = missed.map((i) => `${way(means, i)} ${from(i)}`).join(", ");
  const open = steps.filter(isOpen).map(from).join(", ");
  const number = (/** @type {string} */ measure, /** @type {number} */ value, /** @type {string} */ text) =>
    html("b", { "data-measure": measure, "data-value": String(value), textContent: text });
  return [
    "Your curve is off by ", number("off", off, off.toFixed(digits)), unit && ` ${unit}`,
    " on average",
    ...(judged.length ? [", and goes the right way in ",
      number("directions", judged.length - missed.length, String(judged.length - missed.length)),
      ` of ${judged.length} steps`] : []),
    where ? `. What was measured ${where}.` : ".",
    open && ` Which way it goes ${open} the seeds do not tell.`,
  ];
}

/**
 * Axes, guess and, where it is seen, what was measured.
 * @param {SVGSVGElement} box
 * @param {HTMLInputElement[]} inputs  laid over the points
 * @param {number} wide  in pixels
 * @param {number[]} guess
 * @param {boolean} isSeen
 * @param {Curve} data
 * @returns {Axes}
 */
function plotOn(box, inputs, wide, guess, isSeen, { x, places, points, means, range: [low, high], xlabel, ylabel }) {
  const pixels = pixelsPerUnit(), width = wide / pixels;
  const nearest = Math.min(...places.slice(1).map((place, i) => place - places[i]));
  const column = (width - LEFT - RIGHT - 2 * HALF) * nearest;
  // Where labels would touch, every other one stands lower.
  const lower = 7.5 * Math.max(...x.map((value) => value.length)) > column ? 15 : 0;
  const height = Math.min(300, Math.max(220, width * 0.5)) + lower, bottom = height - BELOW - lower;
  const X = (/** @type {number} */ i) => LEFT + HALF + (width - LEFT - RIGHT - 2 * HALF) * places[i];
  const Y = (/** @type {number} */ value) => bottom - ((bottom - ABOVE) * (value - low)) / (high - low);
  box.setAttribute("viewBox", `0 0 ${width} ${height}`);
  box.style.height = `${height * pixels}px`;
  box.replaceChildren();
  /** @type {(at: number, y: number, words: string, anchor?: string) => void} */
  const text = (at, y, words, anchor = "middle") => box.append(svg("text", { x: at, y, "text-anchor": anchor }, words));
  text(0, 14, ylabel, "start");
  for (const value of round(low, high)) {
    box.append(svg("line", { x1: LEFT, x2: width - RIGHT, y1: Y(value), y2: Y(value), class: "grid" }));
    text(LEFT - 6, Y(value) + 4, written(value), "end");
  }
  x.forEach((value, i) => text(X(i), bottom + 20 + lower * (i % 2), value));
  text((LEFT + width - RIGHT) / 2, height - 6, xlabel);
  const curve = (/** @type {number[]} */ values, /** @type {string} */ look) => {
    const d = values.map((value, i) => `${i ? "L" : "M"}${X(i)} ${Y(value)}`).join("");
    box.append(svg("path", { d, class: look }));
  };
  const legend = (/** @type {number} */ at, /** @type {string} */ look, /** @type {string} */ words) => {
    box.append(svg("line", { x1: at, x2: at + 26, y1: 28, y2: 28, class: look }));
    text(at + 32, 32, words, "start");
  };
  curve(guess, "guess");
  legend(0, "guess", "your guess");
  guess.forEach((value, i) => box.append(svg("circle", { cx: X(i), cy: Y(value), r: 6, class: "guessed" })));
  if (isSeen) {
    curve(means, "measured");
    legend(110, "measured", "measured");
    points.forEach((values, i) => {
      for (const value of values) box.append(svg("circle", { cx: X(i), cy: Y(value), r: 3.5, class: "seed" }));
    });
  }
  inputs.forEach((input, i) => {
    const height = `${(bottom - ABOVE) * pixels}px`;
    Object.assign(input.style, { left: `${X(i) * pixels - HALF}px`, top: `${ABOVE * pixels}px`, height });
  });
  return {
    nearest: (at) => {
      const away = places.map((_, i) => Math.abs(X(i) - at / pixels));
      return away.indexOf(Math.min(...away));
    },
    valueAt: (y) => low + ((bottom - y / pixels) / (bottom - ABOVE)) * (high - low),
  };
}
