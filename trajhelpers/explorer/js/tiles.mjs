/** A run in the grid: what is measured of it, and the button that shows it. */

import { mapColour } from "./colours.mjs";
import { html } from "./elements.mjs";
import { kernelOf } from "./files.mjs";
import { O } from "./kernel.mjs";

// Looked up, since there are hundreds of maps.
const SHADES = Array.from({ length: 256 }, (_, i) => Uint8Array.of(...mapColour(i / 255).map(Math.round), 255));

/** A run's kernel, with ω and the lowest cosine from both places that the grid shows. */
export function measure(run) {
  if (run.kernel) return;
  run.kernel = kernelOf(run.data);
  const fromO = run.kernel.cosine(O), fromStart = run.kernel.cosine(0);
  run.omega = { O: fromO.omega, start: fromStart.omega };
  run.lowest = { O: fromO.lowest, start: fromStart.lowest };
}

/** A map of a pixel a cell, which the page enlarges. */
export function drawSmall(canvas, kernel, origin, lowest) {
  const { kept, cosine } = kernel.cosine(origin), k = kept.length;
  canvas.width = canvas.height = k;
  const c = canvas.getContext("2d"), image = c.createImageData(k, k);
  const shade = (x) => SHADES[Math.round(255 * Math.min(1, Math.max(0, (x - lowest) / (1 - lowest))))];
  for (let i = 0; i < k * k; i++) image.data.set(shade(cosine[i]), 4 * i);
  c.putImageData(image, 0, 0);
}

/** As A, B, or neither. */
export function mark({ badge, button }, letter) {
  badge.textContent = letter;
  badge.className = `letter ${letter}`;
  button.setAttribute("aria-pressed", String(letter !== ""));
}

/** What a run's map, ω and recipe stand in. */
export function tileOf(run) {
  const canvas = html("canvas", { width: run.kernel.n, height: run.kernel.n });
  canvas.setAttribute("aria-hidden", "true");
  const badge = html("b", { className: "letter" }), omega = html("span", { className: "omega" });
  const recipe = html("span", { className: "recipe" }), result = html("span", { className: "recipe" });
  const button = html("button", { type: "button", tabIndex: -1 }, canvas, badge, omega, result, recipe);
  button.dataset.run = run.id;
  return { item: html("li", {}, button), button, canvas, badge, omega, recipe, result };
}
