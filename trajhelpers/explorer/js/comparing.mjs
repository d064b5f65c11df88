/** Two runs beside each other: where both have a checkpoint, and their maps' difference there. */

import { between, parsed } from "./colours.mjs";
import { ABOVE, LEFT } from "./drawing.mjs";
import { everyOf } from "./kernel.mjs";
import { contextOf, drawScale, label, sheetOf } from "./maps.mjs";

/**
 * @typedef {import("./kernel.mjs").Kernel} Kernel
 * @typedef {{kept: number[], values: Float64Array, largest: number, mean: number}} Difference
 *   `kept` are the checkpoints of the first
 */

/**
 * Of two kernels, the indices of checkpoints that belong together.
 * @param {Kernel} a
 * @param {Kernel} b
 */
export function pairsOf(a, b) {
  if (a.n === b.n) return everyOf(a.n).map((t) => [t, t]);
  return everyOf(a.n)
    .map((t) => [t, b.steps.indexOf(a.steps[t])])
    .filter(([, t]) => t >= 0);
}

/**
 * Cosines of one map less those of another, where both have a direction.
 * @param {{kept: number[], cosine: Float64Array}} a
 * @param {{kept: number[], cosine: Float64Array}} b
 * @param {number[][]} pairs  of indices of checkpoints
 * @returns {Difference}
 */
export function difference(a, b, pairs) {
  const both = pairs.map(([s, t]) => [s, a.kept.indexOf(s), b.kept.indexOf(t)]).filter(([, i, j]) => i >= 0 && j >= 0);
  const k = both.length, values = new Float64Array(k * k);
  both.forEach(([, i, j], row) =>
    both.forEach(([, otherI, otherJ], column) => {
      values[row * k + column] = a.cosine[i * a.kept.length + otherI] - b.cosine[j * b.kept.length + otherJ];
    }));
  const largest = values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return { kept: both.map(([s]) => s), values, largest, mean: values.reduce((sum, x) => sum + x, 0) / k ** 2 };
}

// Orange where the second is higher, blue where the first is: told apart by all kinds of eyes, and
// by hatching without colours.
const signed = between(parsed("8c4a04b8640ae08214fdb863fee8c8f7f7f7d8e8f4a6cee3529bcb1f78b40b4f8a"));

/**
 * The colour of a difference as a share of the largest, −1 to 1.
 * @param {number} share
 */
export const signedColour = (share) => signed((share + 1) / 2);

const HATCHED = 0.1; // of the largest difference: less is as good as none

/**
 * A difference of maps on a canvas; `most` is what the strongest colour stands for.
 * @param {HTMLCanvasElement} canvas
 * @param {Difference} difference
 * @param {{most: number, labels: (number|string)[], ink: string, unit: string}} look
 */
export function drawDifference(canvas, { kept, values }, { most, labels, ink, unit }) {
  const { c, side } = sheetOf(canvas, ink), k = kept.length;
  const colours = cells(k, (i) => [...signedColour(values[i] / most), 255]);
  const lower = cells(k, (i) => [0, 0, 0, values[i] < -HATCHED * most ? 255 : 0]);
  c.drawImage(colours, LEFT, ABOVE, side, side);
  c.drawImage(hatching(lower, side, window.devicePixelRatio || 1), LEFT, ABOVE, side, side);
  label(c, side, kept.map((t) => String(labels[t])), unit);
  drawScale(c, side, signed, [`−${most.toFixed(2)}`, "0", `+${most.toFixed(2)}`]);
}

/**
 * A pixel a cell.
 * @param {number} k
 * @param {(i: number) => number[]} colour
 */
function cells(k, colour) {
  const canvas = new OffscreenCanvas(k, k), image = new ImageData(k, k);
  for (let i = 0; i < k * k; i++) image.data.set(colour(i).map(Math.round), 4 * i);
  contextOf(canvas).putImageData(image, 0, 0);
  return canvas;
}

/**
 * Thin lines where a mask is.
 * @param {OffscreenCanvas} mask
 * @param {number} side
 * @param {number} scale
 */
function hatching(mask, side, scale) {
  const size = Math.ceil(side * scale), canvas = new OffscreenCanvas(size, size), c = contextOf(canvas);
  c.strokeStyle = "#4a2800";
  c.globalAlpha = 0.5;
  c.lineWidth = scale;
  c.beginPath();
  for (let x = -size; x < size; x += 7 * scale) {
    c.moveTo(x, size);
    c.lineTo(x + size, 0);
  }
  c.stroke();
  c.globalAlpha = 1;
  c.globalCompositeOperation = "destination-in";
  c.imageSmoothingEnabled = false;
  c.drawImage(mask, 0, 0, size, size);
  return canvas;
}
