/** Maps on a canvas. */

import { cosineAt, css, mapColour } from "./colours.mjs";
import { ABOVE, BELOW, LEFT, RIGHT, ticks } from "./drawing.mjs";

// Looked up, since a map of 154 checkpoints has 23,716 cells, drawn at every move.
const SHADES = Array.from({ length: 256 }, (_, i) => Uint8Array.of(...mapColour(i / 255).map(Math.round), 255));

/** @param {number} cosine @param {number} lowest */
const shade = (cosine, lowest) => Math.round(255 * Math.min(1, Math.max(0, (cosine - lowest) / (1 - lowest))));

/**
 * @typedef {[row: number, column: number]|null} Pair  of checkpoints
 * @typedef {object} MapLook
 * @property {number} lowest             the cosine of the lightest colour
 * @property {(number|string)[]} labels  of all checkpoints of the kernel
 * @property {Pair} marked               whose row and column are framed
 * @property {number} origin
 * @property {string} ink                the colour of what is written
 * @property {string} unit
 * @property {number[]} [room]           the checkpoints that there is room for, by default those that are kept
 */

/**
 * Cosines between what is kept, light at `lowest`.
 * @param {HTMLCanvasElement} canvas
 * @param {import("./kernel.mjs").Cosines} cosines
 * @param {MapLook} look
 * @returns {(x: number, y: number) => Pair} the cell under a point of the canvas
 */
export function drawMap(canvas, { cosine, kept }, { lowest, labels, marked, origin, ink, unit, room = kept }) {
  const { c, side } = sheetOf(canvas, ink), k = kept.length;
  if (!k) {
    c.fillText("nothing here has a direction", LEFT, ABOVE + 20);
    return () => null;
  }
  const cell = side / room.length, cells = new OffscreenCanvas(k, k);
  paint(contextOf(cells), cosine, k, lowest);
  c.drawImage(cells, LEFT, ABOVE, cell * k, cell * k);
  label(c, side, room.map((t) => String(labels[t])), unit);
  // The page may be as dark, or as light, as a cell.
  c.globalAlpha = 0.4;
  c.strokeRect(LEFT, ABOVE, side, side);
  c.globalAlpha = 1;
  drawScale(c, side, mapColour, [0, 0.5, 1].map((share) => cosineAt(lowest, share)));
  outline(c, kept, cell, marked, origin);
  return (x, y) => {
    const i = Math.floor((y - ABOVE) / cell), j = Math.floor((x - LEFT) / cell);
    return i >= 0 && j >= 0 && i < k && j < k ? [kept[i], kept[j]] : null;
  };
}

/**
 * A canvas as wide as its place, with room for a square, its labels and a scale beneath.
 * @param {HTMLCanvasElement} canvas
 * @param {string} ink
 * @returns {{c: CanvasRenderingContext2D, side: number}}  the square's side
 */
export function sheetOf(canvas, ink) {
  const width = canvas.clientWidth, scale = window.devicePixelRatio || 1;
  const side = width - LEFT - RIGHT, height = side + ABOVE + BELOW + 44;
  canvas.width = width * scale;
  canvas.height = height * scale;
  canvas.style.aspectRatio = `${width} / ${height}`;
  const c = contextOf(canvas);
  c.scale(scale, scale);
  c.font = getComputedStyle(canvas).font;
  c.fillStyle = c.strokeStyle = ink;
  c.textBaseline = "middle";
  c.imageSmoothingEnabled = false;
  return { c, side };
}

/**
 * The names of rows and columns, as many as there is room for, and their unit.
 * @param {CanvasRenderingContext2D} c
 * @param {number} side
 * @param {string[]} names
 * @param {string} unit
 */
export function label(c, side, names, unit) {
  for (const i of ticks(names.length, Math.floor(side / 48))) {
    const middle = ((i + 0.5) * side) / names.length;
    c.textAlign = "right";
    c.fillText(names[i], LEFT - 6, ABOVE + middle, LEFT - 8);
    c.textAlign = "center";
    c.fillText(names[i], LEFT + middle, ABOVE + side + 12);
  }
  c.fillText(unit, LEFT + side / 2, ABOVE + side + 28);
}

/**
 * Cosines, a pixel a cell.
 * @param {CanvasRenderingContext2D|OffscreenCanvasRenderingContext2D} c
 * @param {Float64Array} cosine
 * @param {number} k  rows
 * @param {number} lowest
 */
export function paint(c, cosine, k, lowest) {
  const image = new ImageData(k, k);
  for (let i = 0; i < k * k; i++) image.data.set(SHADES[shade(cosine[i], lowest)], 4 * i);
  c.putImageData(image, 0, 0);
}

/**
 * @overload
 * @param {HTMLCanvasElement} canvas
 * @returns {CanvasRenderingContext2D}
 *
 * @overload
 * @param {OffscreenCanvas} canvas
 * @returns {OffscreenCanvasRenderingContext2D}
 *
 * @param {HTMLCanvasElement|OffscreenCanvas} canvas
 */
export function contextOf(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser draws on no canvas");
  return context;
}

/**
 * The colours, with what their ends and their middle stand for.
 * @param {CanvasRenderingContext2D} c
 * @param {number} side
 * @param {(share: number) => import("./colours.mjs").Colour} colour
 * @param {string[]} words
 */
export function drawScale(c, side, colour, words) {
  const top = ABOVE + side + 42;
  for (let i = 0; i < side; i++) {
    c.fillStyle = css(colour(i / side));
    c.fillRect(LEFT + i, top, 1.5, 10);
  }
  c.fillStyle = c.strokeStyle;
  for (const [i, word] of words.entries()) {
    c.textAlign = i === 0 ? "left" : i === 2 ? "right" : "center";
    c.fillText(word, LEFT + (i / 2) * side, top + 20);
  }
}

/**
 * A frame around the row and the column that are looked at, and a mark where it is seen from.
 * @param {CanvasRenderingContext2D} c
 * @param {number[]} kept
 * @param {number} cell
 * @param {Pair} marked
 * @param {number} origin
 */
function outline(c, kept, cell, marked, origin) {
  const side = kept.length * cell;
  // One of a pale and a dark line is seen on any of the map's colours.
  const twice = (/** @type {string} */ colour, /** @type {() => void} */ draw) => {
    for (const [style, width] of /** @type {const} */ ([["#fff", 4], [colour, 2]])) {
      c.strokeStyle = style;
      c.lineWidth = width;
      draw();
    }
  };
  if (marked) {
    const [i, j] = marked.map((t) => kept.indexOf(t));
    twice("#00588a", () => {
      if (i >= 0) c.strokeRect(LEFT, ABOVE + i * cell, side, Math.max(cell, 3));
      if (j >= 0) c.strokeRect(LEFT + j * cell, ABOVE, Math.max(cell, 3), side);
    });
  }
  if (origin < 0) return;
  const at = kept.filter((t) => t < origin).length * cell;
  twice("#8a4b00", () => {
    c.beginPath();
    c.arc(LEFT + at, ABOVE + at, 6, 0, 7);
    c.stroke();
  });
}
