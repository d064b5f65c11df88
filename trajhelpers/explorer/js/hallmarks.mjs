/** The paper's measures of a path: of the checkpoints of a kernel that are taken, in their order. */

import { eigen } from "./eigen.mjs";
import { O, degrees, everyOf } from "./kernel.mjs";

/**
 * @typedef {import("./kernel.mjs").Kernel} Kernel
 * @typedef {import("./kernel.mjs").Way} Way
 */

/**
 * The six angles of section 2 (ii), in degrees, by the names and lengths of Python's `angles`.
 * @param {Kernel} kernel
 */
export function angles(kernel, taken = everyOf(kernel.n)) {
  const first = taken[0], last = taken[taken.length - 1], later = taken.slice(1);
  const fromO = kernel.from(O), fromStart = kernel.from(first), total = fromStart.length(last);
  const updates = later.map((t, i) => kernel.way(taken[i], t));
  const lengths = updates.map((way) => kernel.length(way));
  /** @param {import("./kernel.mjs").Sight} seen @param {number} s @param {number} t */
  const between = (seen, s, t) => degrees(seen.product(s, t) / (seen.length(s) * seen.length(t)));
  return {
    consecutive: updates
      .slice(1)
      .map((way, i) => degrees(kernel.between(way, updates[i]) / (lengths[i + 1] * lengths[i]))),
    update_position: updates.map((way, i) =>
      degrees(fromO.along(way, taken[i]) / (lengths[i] * fromO.length(taken[i])))),
    update_total: updates.map((way, i) => degrees(fromStart.along(way, last) / (lengths[i] * total))),
    progress_total: later.map((t) => between(fromStart, t, last)),
    apex_initialization: later.map((t) => between(fromStart, t, taken[1])),
    apex_origin: taken.map((t) => between(fromO, t, first)),
  };
}

/**
 * The three lengths of section 2 (iii), in parameter units.
 * @param {Kernel} kernel
 */
export function norms(kernel, taken = everyOf(kernel.n)) {
  const fromO = kernel.from(O), fromStart = kernel.from(taken[0]), later = taken.slice(1);
  /** @param {number} squared */
  const length = (squared) => 2 ** kernel.exponent * Math.sqrt(Math.max(squared, 0));
  /** @param {number} t @param {number} i */
  const update = (t, i) => {
    const way = kernel.way(taken[i], t);
    return length(kernel.between(way, way));
  };
  return {
    parameters: taken.map((t) => length(fromO.product(t, t))),
    updates: later.map(update),
    from_initialization: later.map((t) => length(fromStart.product(t, t))),
  };
}

/**
 * Path length over displacement: 1 for a straight line.
 * @param {Kernel} kernel
 */
export function pathRatio(kernel, taken = everyOf(kernel.n)) {
  const length = norms(kernel, taken).updates.reduce((sum, x) => sum + x, 0);
  const way = 2 ** kernel.exponent * kernel.length(kernel.way(taken[0], taken[taken.length - 1]));
  if (Number.isNaN(way)) return length > 0 ? Infinity : NaN;
  return length / way;
}

/**
 * Coordinates along the first two principal components, and the share of the variance of each.
 * @param {Kernel} kernel
 */
export function components(kernel, taken = everyOf(kernel.n)) {
  const k = taken.length, seen = kernel.from(taken[0]);
  const centred = new Float64Array(k * k), mean = new Float64Array(k);
  let all = 0;
  taken.forEach((s, i) => {
    taken.forEach((t, j) => (centred[i * k + j] = seen.product(s, t)));
    mean[i] = centred.subarray(i * k, i * k + k).reduce((sum, x) => sum + x, 0) / k;
    all += mean[i] / k;
  });
  for (let i = 0; i < k; i++) for (let j = 0; j < k; j++) centred[i * k + j] += all - mean[i] - mean[j];
  const { values, vectors } = eigen(centred, k, true);
  const variance = values.map((x) => Math.max(x, 0)), sum = variance.slice(0, k - 1).reduce((a, x) => a + x, 0);
  /** @param {number} c */
  const axis = (c) => {
    const scale = 2 ** kernel.exponent * Math.sqrt(variance[c]) * (vectors[c][k - 1] < 0 ? -1 : 1);
    return Array.from(vectors[c], (x) => x * scale);
  };
  return { x: axis(0), y: axis(1), explained: [variance[0] / sum, variance[1] / sum] };
}

/**
 * Eigenvalues of a map, as a share of their sum.
 * @param {Pick<import("./kernel.mjs").Cosines, "cosine"|"kept">} map
 */
export function spectrum({ cosine, kept }) {
  const { values } = eigen(cosine, kept.length);
  return Array.from(values, (x) => Math.max(x, 0) / kept.length);
}
