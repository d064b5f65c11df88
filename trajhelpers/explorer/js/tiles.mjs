/** A run in the grid: what is measured of it, and the button that shows it. */

import { html } from "./elements.mjs";
import { kernelOf } from "./files.mjs";
import { O } from "./kernel.mjs";
import { contextOf, paint } from "./maps.mjs";

/**
 * @typedef {import("./runs.mjs").Stored} Stored
 * @typedef {{O: number, start: number}} Measure  seen from either place
 * @typedef {ReturnType<typeof tileOf>} Tile
 * @typedef {Stored & {kernel: import("./kernel.mjs").Kernel, omega: Measure, lowest: Measure, tile: Tile}} Run
 */

/**
 * A run with its kernel, and ω and the lowest cosine from both places that the grid shows: once.
 * @param {Stored|Run} run
 * @returns {Run}
 */
export function measured(run) {
  if ("tile" in run) return run;
  const kernel = kernelOf(run.data), fromO = kernel.cosine(O), fromStart = kernel.cosine(0);
  return Object.assign(run, {
    kernel,
    omega: { O: fromO.omega, start: fromStart.omega },
    lowest: { O: fromO.lowest, start: fromStart.lowest },
    tile: tileOf(run.id, kernel.n),
  });
}

/**
 * A map of a pixel a cell, which the page enlarges.
 * @param {HTMLCanvasElement} canvas
 * @param {import("./kernel.mjs").Kernel} kernel
 * @param {number} origin
 * @param {number} lowest
 */
export function drawSmall(canvas, kernel, origin, lowest) {
  const { kept, cosine } = kernel.cosine(origin);
  canvas.width = canvas.height = kept.length;
  paint(contextOf(canvas), cosine, kept.length, lowest);
}

/**
 * As A, B, or neither.
 * @param {Tile} tile
 * @param {""|"A"|"B"} letter
 */
export function mark({ badge, button }, letter) {
  badge.textContent = letter;
  badge.className = `letter ${letter}`;
  button.setAttribute("aria-pressed", String(letter !== ""));
}

/**
 * What a run's map, ω and recipe stand in.
 * @param {string} id
 * @param {number} n  checkpoints
 */
function tileOf(id, n) {
  const canvas = html("canvas", { width: n, height: n });
  canvas.setAttribute("aria-hidden", "true");
  const badge = html("b", { className: "letter" }), omega = html("span", { className: "omega" });
  const recipe = html("span", { className: "recipe" }), result = html("span", { className: "recipe" });
  const button = html("button", { type: "button", tabIndex: -1 }, canvas, badge, omega, result, recipe);
  button.dataset.run = id;
  return { item: html("li", {}, button), button, canvas, badge, omega, recipe, result };
}
