/** Colours of maps, steps and lines, as the figures of the book have them (plots/style.py). */

// Matplotlib's magma and viridis, turned round: at evenly spaced places, linear between.
const MAGMA =
  "fcfdbffceeb0fde0a1fed194fec287feb47bfea571fd9668fb8761f9785df4695cee5b5ee55064db476acf4070" +
  "c23b75b5367aa8327d9b2e7f8e2a81812581752181681c815c167f4f127b420f753410692712581c1044120d31" +
  "09072003030f000004";
const VIRIDIS =
  "fde725d5e21aaadc3281d34d5cc8633dbc7427ad811f9f8821908d26818e2c718e33628d3b518b423f85472c7a" +
  "481769440154";

/** @typedef {number[]} Colour  red, green and blue, 0 to 255 */

/** @param {string} table  six digits a colour */
export const parsed = (table) => (table.match(/.{6}/g) ?? []).map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));
/** @param {Colour[]} places @returns {(x: number) => Colour} */
export const between = (places) => (x) => {
  const at = Math.min(1, Math.max(0, x)) * (places.length - 1), low = Math.min(Math.floor(at), places.length - 2);
  return places[low].map((value, i) => value + (at - low) * (places[low + 1][i] - value));
};

/** Of a share: light at 0, dark at 1. */
export const mapColour = between(parsed(MAGMA));
export const stepColour = between(parsed(VIRIDIS));
/** @param {Colour} colour */
export const css = (colour) => `rgb(${colour.map(Math.round)})`;

/** All colours of maps, light to dark. */
export const MAP_GRADIENT = `linear-gradient(to right, ${Array.from({ length: 17 }, (_, i) => css(mapColour(i / 16))).join(", ")})`;

/**
 * The cosine at a share of the colours, with digits that tell the ends apart.
 * @param {number} lowest
 * @param {number} share
 */
export const cosineAt = (lowest, share) => (lowest + share * (1 - lowest)).toFixed(lowest < 0.95 ? 2 : 4).replace("-", "−");

/**
 * Where the colours of maps begin, of which this is the lowest cosine: as th.plot_maps has it.
 * @param {number} lowest
 */
export const lightest = (lowest) =>
  lowest < 0.95 ? Math.max(-1, Math.floor(lowest * 20) / 20) : Math.floor(lowest * 200) / 200 - 0.005;

/** Of six lines, told apart by their dashes too. */
export const DASHES = ["", "6 4", "8 3 2 3", "2 3", "12 4", "4 2 1 2"];
