/** Kernels from where they lie: what Python put into a page, and files that `kernel.save` wrote. */

import { Kernel } from "./kernel.mjs";

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
const float64Of = (text) => new Float64Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);

/** @param {Float64Array} triangle @param {number} n */
function whole(triangle, n) {
  const products = new Float64Array(n * n);
  for (let i = 0, at = 0; i < n; i++) for (let j = i; j < n; j++, at++) products[i * n + j] = products[j * n + i] = triangle[at];
  return products;
}

/**
 * @template Values
 * @typedef {{shape: number[], values: Values}} Npy
 */

/**
 * @typedef {{increments: Npy<Float64Array>, squared_path: Npy<Float64Array>, names: Npy<string[]>,
 *   steps: Npy<(number|string)[]>, sizes: Npy<number[]>, about: Npy<string[]>, links?: Npy<number[]>}} KernelFile
 */

/**
 * The kernel in a file of `kernel.save`.
 * @param {ArrayBuffer} content
 * @param {string} label
 */
export async function kernelIn(content, label) {
  const found = await arraysIn(content);
  for (const name of ["increments", "squared_path", "steps", "names", "sizes", "about"])
    if (!found[name]) throw new Error("no kernel of trajhelpers: `trajhelpers gram CHECKPOINTS -o run.npz` writes one");
  const arrays = /** @type {KernelFile} */ (/** @type {unknown} */ (found));
  const about = JSON.parse(arrays.about.values[0]);
  if (about.kind === "models") throw new Error("a set of models, which has no path; th.plot_map shows its map");
  if (about.format > NEWEST) throw new Error(`written by trajhelpers ${about.version}, in a newer format than this page reads`);
  const steps = arrays.steps.values, n = steps.length, size = (n * (n + 1)) / 2;
  if (arrays.increments.values.length !== size * arrays.names.values.length) throw new Error("damaged: its arrays do not fit together");
  const sample = about.sample ? "a sample of the parameters" : "";
  return new Kernel({
    label,
    steps,
    sample,
    precision: about.precision,
    exponent: about.exponent ?? 0,
    links: arrays.links?.values,
    groups: arrays.names.values.map((name, g) => ({
      name,
      size: arrays.sizes.values[g],
      products: whole(arrays.increments.values.subarray(g * size, (g + 1) * size), n),
      squared: arrays.squared_path.values.subarray(g * n, (g + 1) * n),
    })),
  });
}

/**
 * Of a zip of .npy files, by their names without the ending.
 * @param {ArrayBuffer} content
 */
async function arraysIn(content) {
  const view = new DataView(content);
  /** @type {Record<string, Npy<Float64Array|(number|string)[]>>} */
  const found = {};
  let end = content.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new Error("no .npz file");
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left; left--) {
    const method = view.getUint16(at + 10, true), packed = view.getUint32(at + 20, true);
    const length = view.getUint16(at + 28, true), header = view.getUint32(at + 42, true);
    const name = new TextDecoder().decode(new Uint8Array(content, at + 46, length)).replace(/\.npy$/, "");
    const begin = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
    const bytes = new Uint8Array(content, begin, packed);
    found[name] = array(method === 8 ? await inflated(bytes) : bytes);
    at += 46 + length + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return found;
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * A .npy file: numbers as float64 (or Number), text as strings; whole numbers beyond 2⁵³ are refused.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Npy<Float64Array|(number|string)[]>}
 */
function array(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isOld = bytes[6] === 1, start = (isOld ? 10 : 12) + (isOld ? view.getUint16(8, true) : view.getUint32(8, true));
  const header = new TextDecoder().decode(bytes.subarray(isOld ? 10 : 12, start));
  const [, kind, width] = header.match(/'descr':\s*'[<|](\w)(\d+)'/) ?? [];
  const [, sizes] = header.match(/'shape':\s*\(([^)]*)\)/) ?? [];
  if (sizes === undefined) throw new Error("damaged: an array without a shape");
  const shape = sizes.split(",").filter((size) => size.trim()).map(Number);
  const count = shape.reduce((product, size) => product * size, 1), data = bytes.slice(start).buffer;
  /** @type {Record<string, () => Float64Array|(number|string)[]>} */
  const readers = {
    f8: () => new Float64Array(data, 0, count),
    i8: () => Array.from(new BigInt64Array(data, 0, count), safely),
    U: () => texts(new Uint32Array(data), count, +width),
  };
  const read = readers[kind === "U" ? "U" : kind + width];
  if (!read) throw new Error(`damaged: an array of type ${kind}${width}`);
  const values = read();
  const isByColumns = /'fortran_order':\s*True/.test(header) && shape.length === 2;
  return { shape, values: isByColumns ? byRows(/** @type {Float64Array} */ (values), shape) : values };
}

/** @param {bigint} big */
function safely(big) {
  if (big > Number.MAX_SAFE_INTEGER || big < Number.MIN_SAFE_INTEGER) throw new Error(`${big} is too large for this page`);
  return Number(big);
}

/** @param {Uint32Array} points @param {number} count @param {number} width */
function texts(points, count, width) {
  return Array.from({ length: count }, (_, i) =>
    String.fromCodePoint(...points.subarray(i * width, (i + 1) * width)).replace(/\0+$/, ""));
}

/** @param {Float64Array} values @param {number[]} shape */
function byRows(values, [rows, columns]) {
  const turned = new Float64Array(values.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) turned[i * columns + j] = values[j * rows + i];
  return turned;
}
