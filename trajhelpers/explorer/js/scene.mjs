/** What a state shows of kernels: numbers, before anything is drawn or said. */

import { angles, components, norms, pathRatio } from "./hallmarks.mjs";
import { O, everyOf } from "./kernel.mjs";

/** What is chosen of a run: its layers, its checkpoints, the walk beside it. */
export function chosen(whole, state) {
  const kernel = state.layers ? whole.only(state.layers) : whole, { first, last, stride } = state;
  const taken = everyOf(kernel.n).filter((t) => t >= first && t <= last && (t - first) % stride === 0);
  return { kernel, taken, walk: state.walk ? kernel.asWalk(taken) : null };
}

/** What is measured of it wherever it is seen from. */
export function measured({ kernel, taken }) {
  return {
    bends: angles(kernel, taken),
    lengths: norms(kernel, taken),
    plane: components(kernel, taken),
    ratio: pathRatio(kernel, taken),
  };
}

/** Its map, and that of the walk, from a checkpoint or O. */
export function seenFrom({ kernel, taken, walk }, origin) {
  const from = origin < 0 ? O : taken.findLastIndex((t) => t <= origin);
  return { seen: kernel.cosine(origin, taken), walked: walk && walk.cosine(from) };
}
