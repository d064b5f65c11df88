/** Questions: the reader answers, by a map or by a curve, and then sees. */

import { css, mapColour } from "./colours.mjs";
import { drawingOf } from "./guessing.mjs";
import { html, mountEach } from "./elements.mjs";
import { kernelOf } from "./files.mjs";

const SHARES = Array.from({ length: 17 }, (_, i) => i / 16);
let count = 0;

/** All questions of a document that are not yet asked. */
export function mountAll() {
  mountEach("prediction", (data) => (data.maps ? choiceOf(data) : drawingOf(data, `prediction-${++count}`)));
}

/**
 * @param {{question: string, maps: object[], answer: number, why: string}} data
 * @returns {HTMLElement}
 */
function choiceOf({ question, maps, answer, why }) {
  const seen = maps.map((map) => ({ name: map.label, sample: map.sample, ...kernelOf(map).cosine() }));
  const lowest = Math.min(Math.floor(Math.min(...seen.map((map) => map.lowest)) * 20) / 20, 0.95);
  const said = html("p", { className: "said", textContent: "Choose one, then see which is which." });
  said.setAttribute("aria-live", "polite");
  const letters = seen.map((_, i) => "ABCDE"[i]);
  const figures = seen.map((map, i) => {
    const canvas = html("canvas", { role: "img", "aria-label": inWords(letters[i], map) });
    paint(canvas, map, lowest);
    const button = html("button", { type: "button", textContent: letters[i], "aria-pressed": "false" });
    button.setAttribute("aria-label", `Map ${letters[i]}`);
    button.onclick = () => choose(i);
    const caption = html("figcaption", { textContent: "\u00a0" });
    return { button, caption, whole: html("figure", {}, canvas, button, caption) };
  });
  const choose = (chosen) => {
    figures.forEach(({ button, caption, whole }, i) => {
      const { name, omega, sample } = seen[i];
      const number = html("span", { textContent: omega.toFixed(3), "data-measure": "omega", "data-value": omega });
      button.setAttribute("aria-pressed", String(i === chosen));
      whole.classList.toggle("answer", i === answer);
      caption.replaceChildren(html("b", {}, name), html("br"), `ω ${sample ? "≈" : "="} `, number);
    });
    const is = `${letters[answer]} is “${seen[answer].name}”`;
    said.textContent = chosen === answer ? `Yes: ${is}. ${why}` : `No: ${letters[chosen]} is “${seen[chosen].name}”; ${is}. ${why}`;
  };
  const group = html("div", { className: "maps", role: "group" }, ...figures.map(({ whole }) => whole));
  group.setAttribute("aria-label", question);
  return html("div", { className: "live" }, html("p", { className: "question" }, question), group, scale(lowest), said);
}

/** A pixel a cell; the page makes it as wide as there is room. */
function paint(canvas, { cosine, kept }, lowest) {
  canvas.width = canvas.height = kept.length;
  const c = canvas.getContext("2d"), image = c.createImageData(kept.length, kept.length);
  cosine.forEach((x, i) => image.data.set([...mapColour((x - lowest) / (1 - lowest)), 255], 4 * i));
  c.putImageData(image, 0, 0);
}

/** What an eye takes from a map, without the number that is asked for. */
function inWords(letter, { cosine, kept }) {
  const k = kept.length, at = (i, j) => cosine[i * k + j].toFixed(2);
  return `Map ${letter}, ${k} checkpoints. Cosines: first and second ${at(0, 1)}, first and middle ${at(0, k >> 1)}, ` +
    `first and last ${at(0, k - 1)}, middle and last ${at(k >> 1, k - 1)}.`;
}

function scale(lowest) {
  const colours = html("span", { className: "colours" });
  colours.style.background = `linear-gradient(to right, ${SHARES.map((share) => css(mapColour(share)))})`;
  return html("p", { className: "scale" }, `cosine ${lowest.toFixed(2)} `, colours, " 1.00");
}
