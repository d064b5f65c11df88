/**
 * The Gram matrices of a run's increments θ_t − θ_{t−1}, θ_0 first, one a tensor, in float64: read
 * in blocks of columns of all checkpoints, of which one is in memory, whatever the files hold. As
 * trajhelpers/gram.py has it.
 */

import { checkpointsIn } from "./folder.mjs";
import { layoutOf } from "./layout.mjs";
import { WIDTH, bytesOf, decode } from "./safetensors.mjs";

const BLOCK_BYTES = 32 << 20;
/** What a page still does in minutes. */
export const MOST_BYTES = 4e9;
// As many products are added in a row as errors are bounded for (kernel.mjs), and as a cache holds.
const CHUNK = 1024;
const SHORTEST = 2 ** -900; // of squares that hold all digits of their roots

/** @typedef {import("./safetensors.mjs").Entry} Entry */
/** @typedef {import("./layout.mjs").Tensor} Tensor */
/** @typedef {import("./kernel.mjs").Group} Group */
/** @typedef {{tensor: Tensor, start: number, stop: number}} Range  some of a tensor's numbers */

/**
 * How far it is: bytes, or files of which the headers are read.
 * @typedef {{doing: string, done: number, of: number, size?: string, seconds?: number}} Said
 */

/** @typedef {{label: string, steps: number[], groups: Group[], sources: string[], leftOut: string[]}} Run */

/**
 * @param {Entry[]} entries  of a folder, or of several files
 * @param {(said: Said) => void} told  every so often
 * @returns {Promise<Run>}
 */
export async function runIn(entries, told) {
  const { where, name, checkpoints, leftOut } = checkpointsIn(entries);
  const steps = checkpoints.map(({ step }) => step), sources = checkpoints.map((one) => one.where.path);
  const { tensors, leftOut: without } = await layoutOf(checkpoints.map((one) => one.where),
    (done) => told({ doing: "reading headers", done, of: checkpoints.length }));
  const bytes = total(tensors.flatMap(({ size, stored }) => stored.map(({ dtype }) => size * WIDTH[dtype])));
  if (bytes > MOST_BYTES)
    throw new Error(`${where}: ${(bytes / 1e9).toFixed(1)} GB, and a page computes up to ${MOST_BYTES / 1e9} GB; ` +
      "`trajhelpers gram FOLDER -o run.npz` has no such bound, and this page opens run.npz");
  const p = total(tensors.map(({ size }) => size)), begun = performance.now();
  const size = `${steps.length} checkpoints × ${p.toLocaleString("en")} numbers`;
  const groups = await products(tensors, sources, steps, (done) =>
    told({ doing: "computing", done, of: bytes, size, seconds: (performance.now() - begun) / 1000 }));
  return { label: name, steps, groups, sources, leftOut: [...leftOut, ...without] };
}

const total = (/** @type {number[]} */ numbers) => numbers.reduce((sum, number) => sum + number, 0);

/**
 * @param {Tensor[]} tensors
 * @param {string[]} sources  of each checkpoint
 * @param {number[]} steps
 * @param {(done: number) => void} told  how many bytes are done
 * @returns {Promise<Group[]>}
 */
async function products(tensors, sources, steps, told) {
  const n = steps.length, rows = padded(n), columns = Math.max(1, Math.floor(BLOCK_BYTES / (8 * rows)));
  // Rows beyond n stay zero: they are multiplied four at a time.
  const delta = new Float64Array(rows * columns);
  const groups = tensors.map(({ name, size }) => ({ name, size, products: new Float64Array(n * n) }));
  let before = new Float64Array(columns), theta = new Float64Array(columns), done = 0;
  for (const block of blocks(tensors, columns)) {
    const width = total(block.map(({ start, stop }) => stop - start));
    for (let t = 0; t < n; t++) {
      await read(block, t, theta);
      const row = delta.subarray(t * columns, t * columns + width);
      if (t) for (let i = 0; i < width; i++) row[i] = theta[i] - before[i];
      else row.set(theta.subarray(0, width));
      [before, theta] = [theta, before];
      done += total(block.map(({ tensor, start, stop }) => (stop - start) * WIDTH[tensor.stored[t].dtype]));
      told(done);
    }
    let at = 0;
    for (const { tensor, group, start, stop } of block) {
      const found = productsOf(delta, columns, at, at + stop - start, n);
      for (let t = 0; t < n; t++) {
        const square = found[t * n + t], row = t * columns + at;
        const isShort = square < SHORTEST && delta.subarray(row, row + stop - start).some((x) => x !== 0);
        if (!Number.isFinite(square) || isShort)
          throw new Error(`step ${steps[t]} (${sources[t]}): ${await whatIsWrong({ tensor, start, stop }, t)}`);
      }
      const sum = groups[group].products;
      for (let i = 0; i < n * n; i++) sum[i] += found[i];
      at += stop - start;
    }
  }
  return groups;
}

/**
 * Ranges of tensors, in the order of the first checkpoint, as many as fit into a block's columns.
 * @param {Tensor[]} tensors
 * @param {number} columns
 * @returns {Generator<(Range & {group: number})[]>}
 */
function* blocks(tensors, columns) {
  /** @type {(Range & {group: number})[]} */
  let block = [];
  let room = columns;
  for (const [group, tensor] of tensors.entries())
    for (let start = 0; start < tensor.size;) {
      const stop = Math.min(tensor.size, start + room);
      block.push({ tensor, group, start, stop });
      room -= stop - start;
      start = stop;
      if (!room) {
        yield block;
        block = [];
        room = columns;
      }
    }
  if (block.length) yield block;
}

/**
 * A checkpoint's row of a block: what lies together in its file, at once.
 * @param {Range[]} block
 * @param {number} t
 * @param {Float64Array} row
 */
async function read(block, t, row) {
  /** @type {{entry: Entry, dtype: string, begin: number, end: number}[]} */
  const parts = [];
  for (const { tensor, start, stop } of block) {
    const { entry, dtype, begin } = tensor.stored[t], width = WIDTH[dtype], last = parts.at(-1);
    const part = { entry, dtype, begin: begin + start * width, end: begin + stop * width };
    if (last && last.entry === entry && last.dtype === dtype && last.end === part.begin) last.end = part.end;
    else parts.push(part);
  }
  let at = 0;
  for (const { entry, dtype, begin, end } of parts) {
    const size = (end - begin) / WIDTH[dtype], bytes = await bytesOf(entry, begin, end);
    if (bytes.length !== end - begin)
      throw new Error(`${entry.path}: became shorter while it was read; open it again when nothing writes to it`);
    decode(bytes, dtype, row.subarray(at, at + size));
    at += size;
  }
}

/**
 * Of some columns of n rows with each other: four rows by two, for which a processor has room.
 * @param {Float64Array} delta
 * @param {number} columns  of a row
 * @param {number} first
 * @param {number} last
 * @param {number} n
 */
function productsOf(delta, columns, first, last, n) {
  const m = padded(n), sum = new Float64Array(m * m), found = new Float64Array(n * n);
  for (let begin = first; begin < last; begin += CHUNK) {
    const end = Math.min(last, begin + CHUNK);
    for (let i = 0; i < m; i += 4)
      for (let j = i; j < m; j += 2) {
        let au = 0, av = 0, bu = 0, bv = 0, cu = 0, cv = 0, du = 0, dv = 0;
        const a = i * columns, b = a + columns, c = b + columns, d = c + columns, u = j * columns, v = u + columns;
        for (let k = begin; k < end; k++) {
          const x = delta[u + k], y = delta[v + k];
          let row = delta[a + k];
          au += row * x;
          av += row * y;
          row = delta[b + k];
          bu += row * x;
          bv += row * y;
          row = delta[c + k];
          cu += row * x;
          cv += row * y;
          row = delta[d + k];
          du += row * x;
          dv += row * y;
        }
        [au, bu, cu, du].forEach((inner, r) => (sum[(i + r) * m + j] += inner));
        [av, bv, cv, dv].forEach((inner, r) => (sum[(i + r) * m + j + 1] += inner));
      }
  }
  for (let i = 0; i < n; i++) for (let j = i; j < n; j++) found[i * n + j] = found[j * n + i] = sum[i * m + j];
  return found;
}

const padded = (/** @type {number} */ n) => Math.ceil(n / 4) * 4;

/**
 * With a range of which a product is not finite, or has lost its digits.
 * @param {Range} range
 * @param {number} t
 */
async function whatIsWrong({ tensor, start, stop }, t) {
  const values = new Float64Array(stop - start);
  await read([{ tensor, start, stop }], t, values);
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad < 0)
    return `numbers of '${tensor.name}' are so large or so small that their squares leave float64;` +
      " `trajhelpers gram` scales them";
  const said = String(values[bad]).replace("NaN", "nan").replace("Infinity", "inf");
  return `${said} in '${tensor.name}', element ${start + bad}; leave this checkpoint out, and open the others`;
}
