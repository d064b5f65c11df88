/** The linked views of a scene: two maps, the path, angles, lengths and the spectrum. */

import { drawCurves, rangeOf } from "./drawing.mjs";
import { asImage, html, svg } from "./elements.mjs";
import { components, spectrum } from "./hallmarks.mjs";
import { O, degrees } from "./kernel.mjs";
import { drawMap } from "./maps.mjs";
import { drawPath } from "./paths.mjs";
import { captionOf, from, mapInWords, pathInWords, planeInWords } from "./words.mjs";

/**
 * @typedef {import("./scene.mjs").Scene} Scene
 * @typedef {import("./maps.mjs").Pair} Pair
 */

// What is drawn of hallmarks.mjs, its name here, the place of the first value.
export const ANGLES = /** @type {const} */ ([
  ["consecutive", "consecutive updates", 1],
  ["update_position", "update, position", 0],
  ["update_total", "update, whole way", 0],
  ["progress_total", "way so far, whole way", 1],
]);
export const LENGTHS = /** @type {const} */ ([
  ["parameters", "‖θ‖", 0],
  ["updates", "updates", 1],
  ["from_initialization", "from the start", 1],
]);

export class Views {
  constructor() {
    this.map = html("canvas", { tabIndex: 0 });
    this.walk = html("canvas");
    this.path = svg("svg");
    this.angles = svg("svg");
    this.lengths = svg("svg");
    this.spectrum = svg("svg");
    // It takes keys, which a screen reader keeps for itself over what is an image.
    this.map.setAttribute("role", "application");
    /** @param {string} which @param {...Element} views */
    const figure = (which, ...views) => html("figure", { className: which }, ...views);
    this.caption = html("figcaption");
    this.pathCaption = html("figcaption");
    this.walkFigure = figure("map", this.walk, html("figcaption", {}, "a random walk with the same steps"));
    this.element = html("div", { className: "views" },
      figure("map", this.map, this.caption), this.walkFigure, figure("path", this.path, this.pathCaption),
      figure("wide", this.angles), figure("half", this.lengths), figure("half", this.spectrum));
    this.isPathOld = true;
    this.areLengthsMarked = false;
    this.waiting = 0;
    /** @type {ReturnType<typeof drawMap>|null} the cell under a point of the map */
    this.cellAt = null;
    /** @type {ReturnType<typeof drawCurves>|null} the place under a point of the angles */
    this.placeAt = null;
    /** @type {ReturnType<typeof drawPath>|null} */
    this.drawnPath = null;
    /** @type {{taken: number[], plane: ReturnType<typeof components>}|null} takes longest of all */
    this.measured = null;
  }

  /**
   * What stands in words at the map.
   * @param {Scene} scene
   */
  say(scene) {
    this.caption.textContent = captionOf(scene);
    this.map.setAttribute("aria-label", mapInWords(scene));
  }

  /** @param {Scene} scene @param {Pair} marked  what is looked at */
  draw(scene, marked) {
    if (!this.element.clientWidth) return;
    const { state, kernel, taken } = scene, labels = kernel.steps;
    this.#drawMaps(scene, marked);
    // What does not depend on where it is seen from is drawn once.
    if (this.isPathOld) {
      const plane = this.#planeOf(scene.room ?? scene);
      this.pathCaption.textContent = planeInWords(plane.explained);
      this.drawnPath = drawPath(this.path, plane, taken, { labels, title: pathInWords(scene, plane.explained) });
    }
    this.drawnPath?.mark(marked, state.origin);
    // The first page of the book shows map and path alone.
    if (this.angles.clientWidth) {
      this.#drawAngles(scene, marked);
      this.#drawLengths(scene, marked);
      this.#drawSpectrum(scene);
    }
    this.isPathOld = false;
  }

  /** @param {Scene} scene */
  #planeOf({ kernel, taken }) {
    if (this.measured?.taken !== taken) this.measured = { taken, plane: components(kernel, taken) };
    return this.measured.plane;
  }

  /** @param {Scene} scene @param {Pair} marked */
  #drawMaps(scene, marked) {
    const { state, kernel, unit, lowest, seen, walk, walked, room } = scene;
    const ink = getComputedStyle(this.element).color;
    const look = { lowest: lowest(), marked, ink, labels: kernel.steps, origin: state.origin, unit };
    this.cellAt = drawMap(this.map, seen, { ...look, room: room?.seen.kept });
    this.walkFigure.hidden = !walk;
    if (!walk || !walked) return;
    const labels = (room?.walk ?? walk).steps;
    drawMap(this.walk, walked, { ...look, marked: null, origin: O, labels, room: room?.walked?.kept });
    asImage(this.walk, "Map of a random walk with the same steps");
  }

  /** @param {Scene} scene @param {Pair} marked */
  #drawAngles(scene, marked) {
    const { taken, seen, bends, unit } = scene;
    const last = seen.kept.at(-1), k = seen.kept.length;
    const apex = { name: `from ${from(scene)}, to the end`, isGrey: true, places: seen.kept.map((t) => taken.indexOf(t)),
      values: seen.kept.map((t, i) => (t === last ? NaN : degrees(seen.cosine[i * k + k - 1]))) };
    const curves = ANGLES.map(([name, label, first]) => ({ name: label, ...along(bends[name], first) }));
    this.placeAt = drawCurves(this.angles, [...curves, apex], {
      labels: labelsOf(scene), range: [0, 180], level: 90, marks: marksIn(taken, marked),
      title: "angles (°)", unit });
  }

  /** @param {Scene} scene @param {Pair} marked */
  #drawLengths(scene, marked) {
    const marks = marksIn(scene.taken, marked);
    if (!(this.isPathOld || marks.length || this.areLengthsMarked)) return;
    this.areLengthsMarked = marks.length > 0;
    const curvesOf = (/** @type {Scene} */ { lengths }) =>
      LENGTHS.map(([name, label, first]) => ({ name: label, ...along(lengths[name], first) }));
    drawCurves(this.lengths, curvesOf(scene), {
      labels: labelsOf(scene), range: rangeOf(curvesOf(scene.room ?? scene), true), marks, isLogarithmic: true,
      title: "lengths (parameter units, log scale)", unit: scene.unit });
  }

  /**
   * Eigenvalues take longer than a frame for long runs: they follow when the hand rests.
   * @param {Scene} scene
   */
  #drawSpectrum({ seen, walked, room }) {
    clearTimeout(this.waiting);
    this.waiting = window.setTimeout(() => {
      const curves = [{ name: "this run", ...along(spectrum(seen).slice(0, 12), 0), isGrey: false }];
      if (walked) curves.push({ name: "random walk", ...along(spectrum(walked).slice(0, 12), 0), isGrey: true });
      const labels = Array.from({ length: Math.min(12, (room?.seen ?? seen).kept.length) }, (_, i) => i + 1);
      drawCurves(this.spectrum, curves, { labels, range: [0, 1], title: "eigenvalues of the map / their sum", unit: "component" });
    }, 60);
  }
}

/**
 * Values at places one after the other.
 * @param {number[]} values
 * @param {number} first
 */
const along = (values, first) => ({ values, places: values.map((_, i) => first + i) });

/** @param {Scene} scene */
const labelsOf = ({ kernel, taken, room }) => (room?.taken ?? taken).map((t) => kernel.steps[t]);

/** @param {number[]} taken @param {Pair} marked */
const marksIn = (taken, marked) => [...new Set(marked ?? [])].map((t) => taken.indexOf(t)).filter((i) => i >= 0);
