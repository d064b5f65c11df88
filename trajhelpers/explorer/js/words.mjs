/** What is said of what is seen: beside the views, and to those who do not see them. */

import { written } from "./drawing.mjs";
import { degrees } from "./kernel.mjs";

/** @typedef {import("./scene.mjs").Scene} Scene */

/**
 * Where it is seen from.
 * @param {Pick<Scene, "state"|"kernel"|"unit">} scene
 */
export const from = ({ state, kernel, unit }) => (state.origin < 0 ? "O" : `${unit} ${kernel.steps[state.origin]}`);

/**
 * What stands after ω.
 * @param {Scene} scene
 */
export function factsOf(scene) {
  const { kernel, taken, seen, walked, ratio } = scene;
  const beside = walked ? `, random walk ${walked.omega.toFixed(3)}` : "";
  const rounding = seen.error ? ` · rounding may have moved cosines by ${seen.error.toExponential(0)}` : "";
  const sample = kernel.sample ? ` · an estimate, ${kernel.sample}` : "";
  const path = Number.isFinite(ratio) ? `path ${written(ratio)} × its displacement` : "a path that ends where it began";
  return ` seen from ${from(scene)}${beside} · ${taken.length} checkpoints · ${path}${rounding}${sample}`;
}

/** @param {Scene} scene */
export function captionOf(scene) {
  const { state, runs } = scene, scale = runs > 1 && !state.fixed ? ` The colours are those of all ${runs} runs.` : "";
  return `Cosines between checkpoints, seen from ${from(scene)}.${scale}`;
}

/** @param {Scene} scene */
export function mapInWords(scene) {
  const { kept, omega, lowest } = scene.seen;
  if (!kept.length) return `Seen from ${from(scene)} nothing has a direction.`;
  return `Map of ${kept.length} checkpoints seen from ${from(scene)}: mean ${omega.toFixed(3)}, lowest ${lowest.toFixed(2)}. Arrow keys move over its cells, Enter looks from there.`;
}

/** @param {number[]} explained  shares of the variance */
export const planeInWords = (explained) =>
  `Two components: ${explained.map((share) => `${(100 * share).toFixed(0)} %`).join(" and ")} of the variance.`;

/** @param {Scene} scene @param {number[]} explained */
export const pathInWords = ({ taken }, explained) =>
  `The path of ${taken.length} checkpoints in the plane of its first principal components. ${planeInWords(explained)}`;

/**
 * Of two checkpoints, their cosine, their angle, and how far they are apart.
 * @param {Scene} scene
 * @param {number} s
 * @param {number} t
 */
export function pairInWords(scene, s, t) {
  const { kernel, unit } = scene, { kept, cosine } = scene.seen, { steps } = kernel;
  if (s === t) return `${unit} ${steps[s]}`;
  const way = kernel.way(s, t), apart = 2 ** kernel.exponent * Math.sqrt(Math.max(kernel.between(way, way), 0));
  const i = kept.indexOf(s), j = kept.indexOf(t), c = cosine[i * kept.length + j];
  const seen = i < 0 || j < 0 ? "" : `, seen from ${from(scene)}: cosine ${c.toFixed(3).replace("-", "−")}, ${degrees(c).toFixed(1)}°`;
  return `${unit} ${steps[s]} and ${steps[t]}${seen}; ${written(apart)} apart`;
}
