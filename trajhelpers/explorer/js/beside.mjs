/** Two runs side by side, and their difference, seen from the same place. */

import { difference, drawDifference, pairsOf } from "./comparing.mjs";
import { button } from "./controls.mjs";
import { asImage, html } from "./elements.mjs";
import { mountAll } from "./explorer.mjs";
import { O } from "./kernel.mjs";
import { drawMap } from "./maps.mjs";
import { inWords, nameOf, recipeInWords, valuesOf, varying } from "./runs.mjs";

/** @typedef {import("./tiles.mjs").Run} Run */
/** @typedef {Record<string, {chapter: string, page: string}>} Studies */

const LETTERS = ["A", "B"];
/** @type {Record<string, string>} */
const RESULTS = { train_accuracy: "training accuracy", train_loss: "training loss" };

/**
 * A share of twenty: scales end at round numbers.
 * @param {number} x
 * @param {(x: number) => number} way
 */
const rounded = (x, way) => way(x * 20) / 20;

export class Beside {
  /**
   * @param {(origin: number) => void} look  is told where a reader wants to look from
   * @param {() => void} swap
   */
  constructor(look, swap) {
    /** @type {Run[]} A and B, once they are chosen */
    this.pair = [];
    /** @type {number[][]} the checkpoints that both have, as indices in each */
    this.pairs = [];
    /** @type {number[]} where from, in each */
    this.places = [O, O];
    /** @type {import("./kernel.mjs").Cosines[]} */
    this.seen = [];
    /** @type {import("./comparing.mjs").Difference|null} */
    this.less = null;
    this.origin = html("input", { type: "range", name: "origin", min: String(O), step: "1" });
    this.origin.oninput = () => look(+this.origin.value);
    this.from = html("span", { "aria-hidden": "true" });
    this.sides = LETTERS.map((letter) => {
      const omega = html("output"), canvas = html("canvas"), recipe = html("span", { className: "recipe" });
      omega.dataset.measure = `omega-${letter}`;
      const badge = html("b", { className: `letter ${letter}`, textContent: letter });
      const caption = html("p", { className: "caption" }, badge, " ", omega, " ", recipe);
      return { omega, canvas, recipe, figure: html("figure", {}, caption, canvas) };
    });
    this.omega = html("output");
    this.omega.dataset.measure = "omega-difference";
    this.canvas = html("canvas");
    this.how = html("span", { className: "recipe" });
    const name = html("b", { textContent: "A − B" });
    const caption = html("p", { className: "caption" }, name, " ", this.omega, " ", this.how);
    const less = html("figure", {}, caption, this.canvas);
    this.chapters = html("span", { className: "chapters" });
    this.table = html("table");
    this.explorer = html("div");
    this.element = html("section", { className: "beside" },
      html("div", { className: "trio" }, ...this.sides.map(({ figure }) => figure), less),
      html("div", { className: "controls" },
        html("label", { className: "origin" }, html("span", {}, "both seen from ", this.from), this.origin),
        button("swap A and B", swap), button("open both in an explorer", () => this.#explore()), this.chapters),
      html("details", {}, html("summary", { textContent: "Both recipes, and how they ended" }), this.table),
      this.explorer);
    this.element.setAttribute("aria-label", "Two runs side by side");
  }

  /**
   * @param {Run[]} pair
   * @param {number} wanted  where from: −1 for O, or which of the checkpoints that both have
   * @param {Studies} studies
   * @returns {number} where from, of the places that there are
   */
  show(pair, wanted, studies) {
    const isOther = pair.some((run, i) => run !== this.pair[i]);
    this.pair = pair;
    const [a, b] = pair.map(({ kernel }) => kernel);
    if (isOther) {
      this.pairs = pairsOf(a, b);
      this.#describe(studies);
      this.explorer.replaceChildren();
    }
    const origin = Math.min(Math.max(O, Math.round(wanted) || 0), this.pairs.length - 1);
    this.from.textContent = this.#place(origin);
    this.origin.max = String(this.pairs.length - 1);
    this.origin.value = String(origin);
    this.origin.setAttribute("aria-valuetext", this.#place(origin));
    this.places = this.pairs[origin] ?? [O, O];
    this.seen = pair.map(({ kernel }, i) => kernel.cosine(this.places[i]));
    this.less = difference(this.seen[0], this.seen[1], this.pairs);
    const omegas = this.seen.map(({ omega }) => omega);
    this.sides.forEach(({ omega }, i) => {
      omega.dataset.value = String(omegas[i]);
      omega.textContent = `ω = ${omegas[i].toFixed(3)}`;
    });
    this.omega.dataset.value = String(omegas[0] - omegas[1]);
    this.omega.textContent = `${omegas[0] < omegas[1] ? "−" : "+"}${Math.abs(omegas[0] - omegas[1]).toFixed(3)}`;
    this.draw();
    return origin;
  }

  draw() {
    if (!this.less || !this.element.clientWidth) return;
    const ink = getComputedStyle(this.element).color, [{ unit, kernel }] = this.pair, from = this.from.textContent;
    const lowest = Math.min(rounded(Math.min(...this.seen.map((seen) => seen.lowest)), Math.floor), 0.95);
    this.sides.forEach(({ canvas }, i) => {
      const run = this.pair[i], seen = this.seen[i], labels = run.kernel.steps;
      drawMap(canvas, seen, { lowest, labels, marked: null, origin: this.places[i], ink, unit: run.unit });
      const measures = `mean ${seen.omega.toFixed(3)}, lowest cosine ${seen.lowest.toFixed(2)}`;
      asImage(canvas, `Map of ${LETTERS[i]} seen from ${from}: ${measures}`);
    });
    const { largest, mean, kept } = this.less, most = Math.max(rounded(largest, Math.ceil), 0.05);
    this.canvas.hidden = kept.length < 2 || this.pairs.length < 3;
    if (this.canvas.hidden) return;
    drawDifference(this.canvas, this.less, { most, labels: kernel.steps, ink, unit });
    const measures = `mean ${mean.toFixed(3)}, at most ${largest.toFixed(2)} either way`;
    asImage(this.canvas, `Difference of the maps, A less B, seen from ${from}: ${measures}`);
  }

  /**
   * What stays as it is, wherever the two are seen from.
   * @param {Studies} studies
   */
  #describe(studies) {
    const { pair } = this, columns = varying(pair);
    this.sides.forEach(({ recipe }, i) => (recipe.textContent = recipeInWords(pair[i], columns) || pair[i].study));
    this.how.textContent = this.#howInWords();
    const named = [...new Set(pair.map(({ study }) => study))].map((study) =>
      html("a", { href: studies[study].page, textContent: `${study}: chapter ${studies[study].chapter}` }));
    this.chapters.replaceChildren(...named);
    const all = (/** @type {"recipe"|"results"} */ part) => [...new Set(pair.flatMap((run) => Object.keys(run[part])))];
    const rows = [
      ["study", ...pair.map(({ study }) => study)],
      ...all("recipe").map((field) =>
        [nameOf(field), ...pair.map((run) => valuesOf(run, field).map(inWords).join(" and ") || "–")]),
      ...all("results").map((end) =>
        [RESULTS[end] ?? nameOf(end), ...pair.map(({ results }) => (end in results ? inWords(results[end]) : "–"))]),
    ];
    /** @param {string} textContent @param {"col"|"row"} scope */
    const heading = (textContent, scope) => html("th", { textContent, scope });
    this.table.replaceChildren(
      html("tr", {}, html("td"), ...LETTERS.map((letter) => heading(letter, "col"))),
      ...rows.map(([name, ...values]) =>
        html("tr", { className: values[0] === values[1] ? "" : "differs" }, heading(name, "row"),
          ...values.map((textContent) => html("td", { textContent })))),
    );
  }

  #howInWords() {
    const [{ kernel: a, unit }, { kernel: b }] = this.pair, both = this.pairs.length;
    if (both < 3) return `No difference of maps: ${a.n} and ${b.n} checkpoints, too few at the same ${unit}.`;
    const where = a.n === b.n ? "" : `On the ${both} checkpoints at the same ${unit} only. `;
    return `${where}Blue: A is higher. Orange, hatched: B is.`;
  }

  /** @param {number} origin */
  #place(origin) {
    const [{ kernel, unit }] = this.pair, at = this.pairs[origin]?.[0];
    return at === undefined ? "O" : at === 0 ? "θ₀, the initialization" : `${unit} ${kernel.steps[at]}`;
  }

  /** The kernels are given as they came. */
  #explore() {
    const labels = this.sides.map(({ recipe }, i) => `${LETTERS[i]}: ${recipe.textContent}`);
    const kernels = this.pair.map(({ data }, i) => ({ ...data, label: labels[i] }));
    const state = { origin: this.places[0] };
    const textContent = JSON.stringify({ kernels, unit: this.pair[0].unit, state });
    const data = html("script", { type: "application/json", textContent });
    const root = html("div", { className: "trajhelpers-explorer" }, data);
    this.explorer.replaceChildren(html("h2", { textContent: "A and B in an explorer" }), root);
    mountAll();
    root.scrollIntoView({ block: "start" });
  }
}
