/** Kernels from where they lie: what Python put into a page, and files that `kernel.save` wrote. */

import { arraysIn } from "./arrays.mjs";
import { Kernel } from "./kernel.mjs";
import { refuseNoKernel } from "./validity.mjs";

const ARRAYS = ["increments", "squared_path", "steps", "names", "sizes", "about"];
const NEWEST = 4; // format of kernel files that this module reads

/**
 * @typedef {{label: string, steps: (number|string)[], precision: import("./kernel.mjs").Precision,
 *   exponent: number, sample: string, links: number[]|null, groups: {name: string, size: number,
 *   products: string, squared: string|null}[]}} Embedded  as trajhelpers/explorer/embedding.py
 *   writes it: numbers are little-endian float64 in base64, products the upper triangle, row by row
 */

/** @param {Embedded} data */
export function kernelOf(data) {
  const n = data.steps.length;
  const groups = data.groups.map(({ name, size, products, squared }) => ({
    name,
    size,
    products: whole(float64Of(products), n),
    squared: squared ? float64Of(squared) : undefined,
  }));
  return new Kernel({ ...data, links: data.links ?? undefined, groups });
}

/** @param {string} text */
function float64Of(text) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  // A page may hold a megabyte of them: a loop takes a tenth of what a callback for each would.
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return new Float64Array(bytes.buffer);
}

/** @param {Float64Array} triangle @param {number} n */
function whole(triangle, n) {
  const products = new Float64Array(n * n);
  for (let i = 0, at = 0; i < n; i++) for (let j = i; j < n; j++, at++) products[i * n + j] = products[j * n + i] = triangle[at];
  return products;
}

/**
 * @typedef {{increments: Npy<Float64Array>, squared_path: Npy<Float64Array>, names: Npy<string[]>,
 *   steps: Npy<number[]>, sizes: Npy<number[]>, about: Npy<string[]>, links?: Npy<number[]>}} KernelFile
 * @typedef {{kind: string, format: number, version: string, precision: import("./kernel.mjs").Precision,
 *   exponent?: number, sample?: object}} About
 */
/**
 * @template {import("./arrays.mjs").Values} V
 * @typedef {import("./arrays.mjs").Npy<V>} Npy
 */

/**
 * The kernel in a file of `kernel.save`.
 * @param {ArrayBuffer} content
 * @param {string} label
 */
export async function kernelIn(content, label) {
  const found = await undamaged(() => arraysIn(content, [...ARRAYS, "links"]));
  if (!ARRAYS.every((name) => found[name]))
    throw new Error("no kernel of trajhelpers: `trajhelpers gram CHECKPOINTS -o run.npz` writes one");
  const arrays = /** @type {KernelFile} */ (/** @type {unknown} */ (found));
  /** @type {About} */
  const about = await undamaged(() => ({ ...JSON.parse(arrays.about.values[0]) }));
  if (about.kind === "models") throw new Error("a set of models, which has no path; th.plot_map shows its map");
  if (about.format > NEWEST)
    throw new Error(`written by trajhelpers ${about.version}, in a newer format than this page reads`);
  return undamaged(() => kernelFrom(arrays, about, label));
}

/**
 * @template Made
 * @param {() => Made|Promise<Made>} make
 */
async function undamaged(make) {
  try {
    return await make();
  } catch (error) {
    const reason = error instanceof Error ? error.message : error;
    throw new Error(`damaged (${reason}); compute it again with \`trajhelpers gram\``);
  }
}

/** @param {KernelFile} arrays @param {About} about @param {string} label */
function kernelFrom(arrays, { precision, exponent = 0, sample }, label) {
  const { increments, squared_path, steps, names, sizes, links } = arrays;
  const n = steps.values.length, count = names.values.length, size = (n * (n + 1)) / 2;
  refuseOther("steps", steps, "i", [n]);
  refuseOther("names", names, "U", [count]);
  refuseOther("sizes", sizes, "i", [count]);
  refuseOther("increments", increments, "f", [count, size]);
  refuseOther("squared_path", squared_path, "f", [count, n]);
  if (links) refuseOther("links", links, "i", [n]);
  const parts = {
    label,
    steps: steps.values,
    precision,
    exponent,
    sample: sample ? "a sample of the parameters" : "",
    links: links?.values,
    groups: names.values.map((name, g) => ({
      name,
      size: sizes.values[g],
      products: whole(increments.values.subarray(g * size, (g + 1) * size), n),
      squared: squared_path.values.subarray(g * n, (g + 1) * n),
    })),
  };
  refuseNoKernel(parts);
  return new Kernel(parts);
}

/**
 * @param {string} name
 * @param {Npy<any>} array
 * @param {string} kind
 * @param {number[]} shape
 */
function refuseOther(name, array, kind, shape) {
  if (array.kind !== kind || String(array.shape) !== String(shape))
    throw new Error(`${name}: of shape (${array.shape}) and kind ${array.kind}, expected (${shape}) and ${kind}`);
}
