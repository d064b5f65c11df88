/** What is said of what is seen: beside the views, and to those who do not see them. */

import { written } from "./drawing.mjs";
import { degrees } from "./kernel.mjs";

/** Where it is seen from. */
export const from = ({ state, kernel, unit }) => (state.origin < 0 ? "O" : `${unit} ${kernel.steps[state.origin]}`);

/** What stands after ω. */
export function factsOf(scene) {
  const { kernel, taken, seen, walked, ratio } = scene;
  const beside = walked ? `, random walk ${walked.omega.toFixed(3)}` : "";
  const rounding = seen.error ? ` · rounding may have moved cosines by ${seen.error.toExponential(0)}` : "";
  const sample = kernel.sample ? ` · an estimate, ${kernel.sample}` : "";
  return ` seen from ${from(scene)}${beside} · ${taken.length} checkpoints · path ${written(ratio)} × its displacement${rounding}${sample}`;
}

export function mapInWords(scene) {
  const { kept, omega, lowest } = scene.seen;
  return `Map of ${kept.length} checkpoints seen from ${from(scene)}: mean ${omega.toFixed(3)}, lowest ${lowest.toFixed(2)}. Arrow keys move over its cells, Enter looks from there.`;
}

export const pathInWords = ({ taken }) =>
  `The path of ${taken.length} checkpoints in the plane of its first two principal components`;

/** Of two checkpoints, their cosine, their angle, and how far they are apart. */
export function pairInWords(scene, s, t) {
  const { kernel, unit } = scene, { kept, cosine } = scene.seen, { steps } = kernel;
  if (s === t) return `${unit} ${steps[s]}`;
  const way = kernel.way(s, t), apart = 2 ** kernel.exponent * Math.sqrt(Math.max(kernel.between(way, way), 0));
  const i = kept.indexOf(s), j = kept.indexOf(t), c = cosine[i * kept.length + j];
  const seen = i < 0 || j < 0 ? "" : `, seen from ${from(scene)}: cosine ${c.toFixed(3)}, ${degrees(c).toFixed(1)}°`;
  return `${unit} ${steps[s]} and ${steps[t]}${seen}; ${written(apart)} apart`;
}
