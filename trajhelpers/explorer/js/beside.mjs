/** Two runs side by side, and their difference, seen from the same place. */

import { difference, drawDifference, pairsOf } from "./comparing.mjs";
import { button, html } from "./controls.mjs";
import { drawMap } from "./drawing.mjs";
import { mountAll } from "./explorer.mjs";
import { O } from "./kernel.mjs";
import { inWords, nameOf, recipeInWords, valuesOf, varying } from "./runs.mjs";

const LETTERS = ["A", "B"];
const RESULTS = { train_accuracy: "training accuracy", test_accuracy: "test accuracy", train_loss: "training loss" };

/** A share of twenty: scales end at round numbers. */
const rounded = (x, way) => way(x * 20) / 20;

export class Beside {
  /**
   * @param {(origin: number) => void} look  is told where a reader wants to look from
   * @param {() => void} swap
   */
  constructor(look, swap) {
    this.origin = html("input", { type: "range", name: "origin", min: O, step: 1, oninput: () => look(+this.origin.value) });
    this.from = html("output");
    this.sides = LETTERS.map((letter) => {
      const omega = html("output"), canvas = html("canvas"), recipe = html("span", { className: "recipe" });
      omega.dataset.measure = `omega-${letter}`;
      canvas.setAttribute("role", "img");
      const caption = html("figcaption", {}, html("b", { className: `badge ${letter}`, textContent: letter }), " ", omega, " ", recipe);
      return { omega, canvas, recipe, figure: html("figure", {}, caption, canvas) };
    });
    this.omega = html("output");
    this.omega.dataset.measure = "omega-difference";
    this.canvas = html("canvas");
    this.canvas.setAttribute("role", "img");
    this.how = html("span", { className: "recipe" });
    this.difference = html("figure", {}, html("figcaption", {}, html("b", { textContent: "A − B" }), " ", this.omega, " ", this.how), this.canvas);
    this.chapters = html("span", { className: "chapters" });
    this.table = html("table");
    this.explorer = html("div");
    this.element = html("section", { className: "beside" },
      html("div", { className: "trio" }, ...this.sides.map(({ figure }) => figure), this.difference),
      html("div", { className: "controls" },
        html("label", { className: "origin" }, html("span", {}, "both seen from ", this.from), this.origin),
        button("swap A and B", swap), button("open both in an explorer", () => this.#explore()), this.chapters),
      html("details", {}, html("summary", { textContent: "Both recipes, and how they ended" }), this.table),
      this.explorer);
    this.element.setAttribute("aria-label", "Two runs side by side");
  }

  /**
   * @param {import("./runs.mjs").Run[]} pair
   * @param {number} origin  −1 for O, or a checkpoint of the first that the second has too
   * @param {Record<string, {chapter: string, page: string}>} studies
   */
  show(pair, origin, studies) {
    const isOther = pair.some((run, i) => run !== this.pair?.[i]);
    this.pair = pair;
    const [a, b] = pair.map(({ kernel }) => kernel);
    if (isOther) {
      this.pairs = pairsOf(a, b);
      this.#describe(studies);
      this.explorer.replaceChildren();
    }
    this.from.textContent = this.#place(origin);
    Object.assign(this.origin, { max: this.pairs.length - 1 });
    this.origin.value = origin;
    this.origin.setAttribute("aria-valuetext", this.#place(origin));
    this.places = this.pairs[origin] ?? [O, O];
    this.seen = pair.map(({ kernel }, i) => kernel.cosine(this.places[i]));
    this.difference_ = difference(this.seen[0], this.seen[1], this.pairs);
    const omegas = this.seen.map(({ omega }) => omega);
    this.sides.forEach(({ omega }, i) => {
      omega.dataset.value = omegas[i];
      omega.textContent = `ω = ${omegas[i].toFixed(3)}`;
    });
    this.omega.dataset.value = omegas[0] - omegas[1];
    this.omega.textContent = `${omegas[0] < omegas[1] ? "−" : "+"}${Math.abs(omegas[0] - omegas[1]).toFixed(3)}`;
    this.draw();
  }

  draw() {
    if (!this.pair || !this.element.clientWidth) return;
    const ink = getComputedStyle(this.element).color, [{ unit, kernel }] = this.pair;
    const lowest = Math.min(rounded(Math.min(...this.seen.map((seen) => seen.lowest)), Math.floor), 0.95);
    this.sides.forEach(({ canvas }, i) => {
      const { kernel: own, unit: its } = this.pair[i];
      drawMap(canvas, this.seen[i], { lowest, labels: own.steps, marked: null, origin: this.places[i], ink, unit: its });
      const said = `Map of ${LETTERS[i]} seen from ${this.from.textContent}: mean ${this.seen[i].omega.toFixed(3)}, lowest cosine ${this.seen[i].lowest.toFixed(2)}`;
      canvas.setAttribute("aria-label", said);
    });
    const { largest, mean, kept } = this.difference_;
    const most = Math.max(rounded(largest, Math.ceil), 0.05);
    this.canvas.hidden = kept.length < 2;
    if (!this.canvas.hidden) drawDifference(this.canvas, this.difference_, { most, labels: kernel.steps, ink, unit });
    this.canvas.setAttribute("aria-label", `Difference of the maps, A less B: mean ${mean.toFixed(3)}, at most ${largest.toFixed(2)} either way`);
  }

  /** What stays as it is, wherever the two are seen from. */
  #describe(studies) {
    const { pair } = this, [a, b] = pair, columns = varying(pair).filter(({ name }) => name !== "seed" || a.recipe.seed !== b.recipe.seed);
    this.sides.forEach(({ recipe }, i) => (recipe.textContent = recipeInWords(pair[i], columns) || pair[i].study));
    this.how.textContent = a.kernel.n === b.kernel.n
      ? "Blue: A is higher. Orange and hatched: B is."
      : this.pairs.length > 2
        ? `On the ${this.pairs.length} checkpoints at the same ${a.unit} only. Blue: A is higher. Orange and hatched: B is.`
        : `No difference: ${a.kernel.n} and ${b.kernel.n} checkpoints, too few at the same ${a.unit}.`;
    const named = [...new Set(pair.map(({ study }) => study))].map((study) =>
      html("a", { href: studies[study].page, textContent: `${study}: chapter ${studies[study].chapter}` }));
    this.chapters.replaceChildren(...named);
    const head = html("tr", {}, html("th", { scope: "col", textContent: "" }), ...LETTERS.map((textContent) => html("th", { scope: "col", textContent })));
    const fields = [...new Set(pair.flatMap(({ recipe }) => Object.keys(recipe)))];
    const rows = fields.map((field) => [nameOf(field), ...pair.map((run) => valuesOf(run, field).map(inWords).join(" and ") || "–")]);
    const ends = [...new Set(pair.flatMap(({ results }) => Object.keys(results)))];
    const told = ends.map((end) => [RESULTS[end] ?? nameOf(end), ...pair.map(({ results }) => (end in results ? inWords(results[end]) : "–"))]);
    this.table.replaceChildren(head, ...[["study", a.study, b.study], ...rows, ...told].map(([name, ...values]) =>
      html("tr", { className: values[0] === values[1] ? "" : "differs" }, html("th", { scope: "row", textContent: name }),
        ...values.map((textContent) => html("td", { textContent })))));
  }

  #place(origin) {
    const [{ kernel, unit }] = this.pair, at = this.pairs[origin]?.[0];
    return at === undefined ? "O" : at === 0 ? "θ₀, the initialization" : `${unit} ${kernel.steps[at]}`;
  }

  /** The kernels are given as they came. */
  #explore() {
    const kernels = this.pair.map(({ data }, i) => ({ ...data, label: `${LETTERS[i]}: ${this.sides[i].recipe.textContent}` }));
    const data = html("script", { type: "application/json", textContent: JSON.stringify({ kernels, unit: this.pair[0].unit }) });
    const root = html("div", { className: "trajhelpers-explorer" }, data);
    this.explorer.replaceChildren(html("h2", { textContent: "A and B in an explorer" }), root);
    mountAll();
    root.scrollIntoView({ block: "start" });
  }
}
