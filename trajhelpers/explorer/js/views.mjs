/** The linked views of a scene: two maps, the path, angles, lengths and the spectrum. */

import { html } from "./controls.mjs";
import { drawCurves, drawMap, drawPath } from "./drawing.mjs";
import { spectrum } from "./hallmarks.mjs";
import { O, degrees } from "./kernel.mjs";
import { from, mapInWords, pathInWords } from "./words.mjs";

const ANGLES = {
  consecutive: "consecutive updates",
  update_position: "update, position",
  update_total: "update, whole way",
  progress_total: "way so far, whole way",
};
const BEGINNING = { consecutive: 1, update_position: 0, update_total: 0, progress_total: 1 };
const LENGTHS = { parameters: "‖θ‖", updates: "updates", from_initialization: "from the start" };
const SVG = "http://www.w3.org/2000/svg";

export class Views {
  constructor() {
    const curves = () => document.createElementNS(SVG, "svg");
    this.map = html("canvas", { tabIndex: 0 });
    this.walk = html("canvas");
    this.path = curves();
    this.angles = curves();
    this.lengths = curves();
    this.spectrum = curves();
    for (const view of [this.map, this.walk, this.path, this.angles, this.lengths, this.spectrum]) view.setAttribute("role", "img");
    this.walk.setAttribute("aria-label", "Map of a random walk with the same steps");
    const figure = (which, ...views) => html("figure", { className: which }, ...views);
    this.caption = html("figcaption");
    this.walkFigure = figure("map", this.walk, html("figcaption", {}, "a random walk with the same steps"));
    this.element = html("div", { className: "views" },
      figure("map", this.map, this.caption), this.walkFigure, figure("path", this.path),
      figure("wide", this.angles), figure("half", this.lengths), figure("half", this.spectrum));
    this.isPathOld = true;
  }

  /** What stands in words at the map. */
  say(scene) {
    this.caption.textContent = `Cosines between checkpoints, seen from ${from(scene)}.`;
    this.map.setAttribute("aria-label", mapInWords(scene));
  }

  /** @param {number[]|null} marked  two checkpoints that are looked at */
  draw(scene, marked) {
    if (!this.element.clientWidth) return;
    const { state, kernel, taken } = scene, labels = kernel.steps;
    this.#drawMaps(scene, marked);
    // What does not depend on where it is seen from is drawn once.
    if (this.isPathOld) this.drawnPath = drawPath(this.path, scene.plane, taken, { labels, title: pathInWords(scene) });
    this.drawnPath.mark(marked, state.origin);
    this.#drawAngles(scene, marked);
    this.#drawLengths(scene, marked);
    this.isPathOld = false;
    this.#drawSpectrum(scene);
  }

  #drawMaps({ state, kernel, unit, seen, walk, walked }, marked) {
    const lightest = Math.min(seen.lowest, walked ? walked.lowest : 1);
    const lowest = state.fixed ? -1 : Math.min(Math.floor(lightest * 20) / 20, 0.95);
    const ink = getComputedStyle(this.element).color;
    const look = { lowest, marked, ink, labels: kernel.steps, origin: state.origin, unit };
    this.cellAt = drawMap(this.map, seen, look);
    this.walkFigure.hidden = !walk;
    if (walk) drawMap(this.walk, walked, { ...look, marked: null, origin: O, labels: walk.steps });
  }

  #drawAngles(scene, marked) {
    const { kernel, taken, seen, bends, unit } = scene, places = taken.map((_, i) => i);
    const last = seen.kept.at(-1), k = seen.kept.length;
    const apex = { name: `from ${from(scene)}, to the end`, isGrey: true, places: seen.kept.map((t) => taken.indexOf(t)),
      values: seen.kept.map((t, i) => (t === last ? NaN : degrees(seen.cosine[i * k + k - 1]))) };
    const curves = Object.entries(ANGLES).map(([name, label]) =>
      ({ name: label, values: bends[name], places: places.slice(BEGINNING[name]) }));
    this.placeAt = drawCurves(this.angles, [...curves, apex], {
      labels: taken.map((t) => kernel.steps[t]), range: [0, 180], level: 90, marks: marksIn(taken, marked),
      title: "angles (°)", unit });
  }

  #drawLengths({ kernel, taken, lengths, unit }, marked) {
    const places = taken.map((_, i) => i), marks = marksIn(taken, marked);
    if (!(this.isPathOld || marks.length || this.areLengthsMarked)) return;
    this.areLengthsMarked = marks.length > 0;
    const curves = Object.entries(LENGTHS).map(([name, label]) =>
      ({ name: label, values: lengths[name], places: places.slice(name === "parameters" ? 0 : 1) }));
    drawCurves(this.lengths, curves, {
      labels: taken.map((t) => kernel.steps[t]), marks, isLogarithmic: true, title: "lengths (parameter units)", unit });
  }

  /** Eigenvalues take longer than a frame for long runs: they follow when the hand rests. */
  #drawSpectrum({ seen, walked }) {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      const found = [{ name: "this run", of: seen }, ...(walked ? [{ name: "random walk", of: walked, isGrey: true }] : [])];
      const curves = found.map(({ name, of, isGrey }) => {
        const values = spectrum(of).slice(0, 12);
        return { name, isGrey, values, places: values.map((_, i) => i) };
      });
      const labels = Array.from({ length: Math.min(12, seen.kept.length) }, (_, i) => i + 1);
      drawCurves(this.spectrum, curves, { labels, range: [0, 1], title: "eigenvalues of the map / their sum", unit: "component" });
    }, 60);
  }
}

const marksIn = (taken, marked) => [...new Set(marked ?? [])].map((t) => taken.indexOf(t)).filter((i) => i >= 0);
