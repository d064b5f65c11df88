/** What a state shows of kernels: numbers, before anything is drawn or said. */

import { lightest } from "./colours.mjs";
import { angles, norms, pathRatio } from "./hallmarks.mjs";
import { O, everyOf } from "./kernel.mjs";

/**
 * @typedef {import("./kernel.mjs").Kernel} Kernel
 * @typedef {import("./kernel.mjs").Cosines} Cosines
 * @typedef {import("./state.mjs").State} State
 *
 * @typedef {{kernel: Kernel, taken: number[], walk: Kernel|null}} Chosen
 * @typedef {ReturnType<typeof measured>} Measured
 * @typedef {{seen: Cosines, walked: Cosines|null}} Maps
 * @typedef {Chosen & Measured & Maps & {state: State, unit: string, lowest: () => number, runs: number, room?: Scene}} Scene
 *   `lowest` is the cosine of the lightest colour; there is room for all of `room`, by default the
 *   scene itself
 */

/**
 * What is chosen of a run: its layers, its checkpoints, the walk beside it.
 * @param {Kernel} whole
 * @param {State} state
 * @returns {Chosen}
 */
export function chosen(whole, state) {
  const kernel = state.layers ? whole.only(state.layers) : whole, { first, last, stride } = state;
  const taken = everyOf(kernel.n).filter((t) => t >= first && t <= last && (t - first) % stride === 0);
  return { kernel, taken, walk: state.walk ? kernel.asWalk(taken) : null };
}

/**
 * What is measured of it wherever it is seen from.
 * @param {Pick<Chosen, "kernel"|"taken">} chosen
 */
export function measured({ kernel, taken }) {
  return {
    bends: angles(kernel, taken),
    lengths: norms(kernel, taken),
    ratio: pathRatio(kernel, taken),
  };
}

/**
 * Its map, and that of the walk, from a checkpoint or O.
 * @param {Chosen} chosen
 * @param {number} origin
 * @returns {Maps}
 */
export function seenFrom({ kernel, taken, walk }, origin) {
  return { seen: kernel.cosine(origin, taken), walked: walk && walkedFrom({ kernel, taken, walk }, origin) };
}

/**
 * The walk from the place where the run is seen from, which may be none of those that are shown: then
 * the walk leads through it, too.
 * @param {{kernel: Kernel, taken: number[], walk: Kernel}} chosen
 * @param {number} origin
 */
function walkedFrom({ kernel, taken, walk }, origin) {
  if (origin < 0 || taken.includes(origin)) return walk.cosine(origin < 0 ? O : taken.indexOf(origin));
  const path = [...taken, origin].sort((s, t) => s - t), from = path.indexOf(origin);
  const walked = kernel.asWalk(path).cosine(from);
  return { ...walked, kept: walked.kept.map((i) => (i > from ? i - 1 : i)) };
}

/**
 * Its first checkpoints, in the room of all.
 * @param {Scene} whole
 * @param {number} count
 * @returns {Scene}
 */
export function grownTo(whole, count) {
  const { kernel, state } = whole, taken = whole.taken.slice(0, count);
  const part = { kernel, taken, walk: whole.walk && kernel.asWalk(taken) };
  return {
    ...whole,
    ...part,
    ...seenFrom(part, state.origin),
    bends: angles(kernel, taken),
    lengths: norms(kernel, taken),
    ratio: pathRatio(kernel, taken),
    state: { ...state, last: taken[count - 1] },
    room: whole,
  };
}

/**
 * Where the colours begin, of maps that are compared.
 * @param {Maps[]} maps
 */
export function lowestOf(maps) {
  return lightest(Math.min(...maps.map(({ seen, walked }) => Math.min(seen.lowest, walked ? walked.lowest : 1))));
}
