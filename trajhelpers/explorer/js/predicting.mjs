/** Questions: the reader answers, by a map or by a curve, and then sees. */

import { MAP_GRADIENT, cosineAt, lightest } from "./colours.mjs";
import { html } from "./elements.mjs";
import { kernelOf } from "./files.mjs";
import { drawingOf } from "./guessing.mjs";
import { contextOf, paint } from "./maps.mjs";
import { mountEach } from "./mounting.mjs";

/** @typedef {import("./files.mjs").Embedded} Embedded */
/** @typedef {{cosine: Float64Array, kept: number[]}} Cosines */

let count = 0;

/** All questions of a document that are not yet asked. */
export function mountAll() {
  mountEach("prediction", (data) => (data.maps ? choiceOf(data) : drawingOf(data, `prediction-${++count}`)));
}

/**
 * @param {{question: string, maps: Embedded[], answer: number, why: string}} data
 * @returns {HTMLElement}
 */
function choiceOf({ question, maps, answer, why }) {
  const seen = maps.map((map) => ({ name: map.label, sample: map.sample, ...kernelOf(map).cosine() }));
  const lowest = lightest(Math.min(...seen.map((map) => map.lowest)));
  const said = html("p", { className: "said", "aria-live": "polite" }, "Choose one, then see which is which.");
  const letters = seen.map((_, i) => "ABCDE"[i]);
  const figures = seen.map((map, i) => {
    const canvas = html("canvas", { role: "img", "aria-label": inWords(letters[i], map) });
    canvas.width = canvas.height = map.kept.length;
    paint(contextOf(canvas), map.cosine, map.kept.length, lowest);
    const spoken = { "aria-label": `Map ${letters[i]}`, "aria-pressed": "false" };
    const button = html("button", { type: "button", ...spoken }, letters[i]);
    button.onclick = () => choose(i);
    const caption = html("figcaption", { textContent: "\u00a0" });
    return { button, caption, whole: html("figure", {}, canvas, button, caption) };
  });
  const choose = (/** @type {number} */ chosen) => {
    figures.forEach(({ button, caption, whole }, i) => {
      const { name, omega, sample } = seen[i];
      const number = html("span", { "data-measure": "omega", "data-value": String(omega) }, omega.toFixed(3));
      button.setAttribute("aria-pressed", String(i === chosen));
      whole.classList.toggle("answer", i === answer);
      caption.replaceChildren(html("b", {}, name), html("br"), `ω ${sample ? "≈" : "="} `, number);
    });
    const is = `${letters[answer]} is “${seen[answer].name}”`;
    const verdict = chosen === answer ? "Yes" : `No, ${letters[chosen]} is “${seen[chosen].name}”`;
    said.textContent = `${verdict}: ${is}. ${why}`;
  };
  const spoken = { role: "group", "aria-label": question };
  const group = html("div", { className: "maps", ...spoken }, ...figures.map(({ whole }) => whole));
  return html("div", { className: "live" }, html("p", { className: "question" }, question), group, scale(lowest), said);
}

/**
 * What an eye takes from a map, without the number that is asked for.
 * @param {string} letter
 * @param {Cosines} cosines
 */
function inWords(letter, { cosine, kept }) {
  const k = kept.length, at = (/** @type {number} */ i, /** @type {number} */ j) => cosine[i * k + j].toFixed(2);
  return `Map ${letter}, ${k} checkpoints. Cosines: first and second ${at(0, 1)}, first and middle ${at(0, k >> 1)}, ` +
    `first and last ${at(0, k - 1)}, middle and last ${at(k >> 1, k - 1)}.`;
}

/** @param {number} lowest */
function scale(lowest) {
  const colours = html("span", { className: "colours" });
  colours.style.background = MAP_GRADIENT;
  return html("p", { className: "scale" }, `cosine ${cosineAt(lowest, 0)} `, colours, ` ${cosineAt(lowest, 1)}`);
}
