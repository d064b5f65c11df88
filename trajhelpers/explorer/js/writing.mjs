/** A run's kernel as a file that Python opens (`TrajectoryKernel.load`): a zip of .npy arrays, as they are. */

import { crc32 } from "./arrays.mjs";

/**
 * @param {import("./gram.mjs").Run} run
 * @returns {Blob} an .npz file, as trajhelpers/kernel_file.py reads it
 */
export function kernelFile({ steps, groups, sources, leftOut }) {
  const n = steps.length, upper = [], squared = [];
  for (const { products } of groups)
    for (let i = 0; i < n; i++) {
      squared.push(products[i * n + i]);
      for (let j = i; j < n; j++) upper.push(products[i * n + j]);
    }
  const about = {
    format: 1, kind: "trajectory", version: "in a page", precision: "float64",
    p: groups.reduce((p, { size }) => p + size, 0),
    source: { checkpoints: sources, notes: ["computed in a page, from safetensors"], left_out: leftOut.slice(0, 50) },
  };
  return zip({
    increments: numbers(upper, [groups.length, (n * (n + 1)) / 2]),
    squared_path: numbers(squared, [groups.length, n]),
    steps: integers(steps),
    runs: texts(steps.map(() => ""), [n]),
    names: texts(groups.map(({ name }) => name), [groups.length]),
    sizes: integers(groups.map(({ size }) => size)),
    about: texts([JSON.stringify(about)], []),
  });
}

// ---- arrays ----

/** @param {number[]} values @param {number[]} shape */
const numbers = (values, shape) => array("<f8", shape, Float64Array.from(values));
/** @param {number[]} values */
const integers = (values) => array("<i8", [values.length], BigInt64Array.from(values, BigInt));

/** @param {string[]} values @param {number[]} shape */
function texts(values, shape) {
  const points = values.map((text) => Array.from(text, (letter) => letter.codePointAt(0) ?? 0));
  const width = Math.max(1, ...points.map(({ length }) => length)), filled = new Uint32Array(width * values.length);
  points.forEach((text, i) => filled.set(text, i * width));
  return array(`<U${width}`, shape, filled);
}

/**
 * @param {string} descr
 * @param {number[]} shape
 * @param {Float64Array<ArrayBuffer>|BigInt64Array<ArrayBuffer>|Uint32Array<ArrayBuffer>} values
 */
function array(descr, shape, values) {
  const sizes = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${sizes}), }`;
  const length = Math.ceil((10 + header.length + 1) / 64) * 64 - 10;
  const start = `\x93NUMPY\x01\x00${String.fromCharCode(length & 255, length >> 8)}${header.padEnd(length - 1)}\n`;
  return joined([Uint8Array.from(start, (letter) => letter.charCodeAt(0)), new Uint8Array(values.buffer)]);
}

/** @param {Uint8Array[]} parts */
function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

// ---- the zip ----

const DAY_ONE = 0x21; // 1 January 1980: a zip has no date before

/** @param {Record<string, Uint8Array<ArrayBuffer>>} arrays */
function zip(arrays) {
  const files = [], directory = [];
  let at = 0;
  for (const [name, content] of Object.entries(arrays)) {
    const path = new TextEncoder().encode(`${name}.npy`), sum = crc32(content), { length } = content;
    const sizes = [[4, sum], [4, length], [4, length], [2, path.length], [2, 0]];
    const facts = [[2, 20], [2, 0], [2, 0], [2, 0], [2, DAY_ONE], ...sizes];
    const local = [fields([[4, 0x04034b50], ...facts]), path, content];
    directory.push(fields([[4, 0x02014b50], [2, 20], ...facts, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]]), path);
    files.push(...local);
    at += local.reduce((bytes, part) => bytes + part.length, 0);
  }
  const count = directory.length / 2, size = directory.reduce((bytes, part) => bytes + part.length, 0);
  const end = fields([[4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, at], [2, 0]]);
  return new Blob([...files, ...directory, end], { type: "application/octet-stream" });
}

/**
 * Numbers of so many bytes each, the lowest first.
 * @param {number[][]} given
 */
function fields(given) {
  const bytes = (/** @type {number[]} */ [width, value]) =>
    Array.from({ length: width }, (_, i) => (value >>> (8 * i)) & 255);
  return Uint8Array.from(given.flatMap(bytes));
}
