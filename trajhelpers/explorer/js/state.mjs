/** What a reader has chosen, and the address that holds it. */

import { O } from "./kernel.mjs";

/**
 * @typedef {object} State
 * @property {number} run     which of the kernels
 * @property {string} layers  a group's name, "" for all
 * @property {number} origin  the checkpoint that it is seen from, −1 for O
 * @property {number} stride  every how many checkpoints
 * @property {number} first
 * @property {number} last    −1 for the end
 * @property {boolean} walk   beside a random walk
 * @property {boolean} fixed  colours from −1
 */

/** @type {State} */
export const STARTING = { run: 0, layers: "", origin: O, stride: 1, first: 0, last: -1, walk: false, fixed: false };

/** @type {Map<string, unknown>} */
const USUAL = new Map(Object.entries(STARTING));

/**
 * The nearest state that a kernel has.
 * @param {State} state
 * @param {import("./kernel.mjs").Kernel} kernel  all of its layers
 * @returns {State}
 */
export function fitted(state, kernel) {
  const end = kernel.n - 1;
  /** @param {number} x @param {number} low @param {number} high */
  const within = (x, low, high) => Math.min(Math.max(Math.round(x), low), high);
  const layers = kernel.groups.some(({ name }) => name === state.layers) ? state.layers : "";
  let last = state.last < 0 ? end : within(state.last, 0, end);
  const first = within(state.first, 0, Math.max(last - 2, 0));
  last = Math.max(last, Math.min(first + 2, end));
  return {
    ...state,
    layers,
    first,
    last,
    origin: within(state.origin, O, end),
    stride: within(state.stride, 1, longestStride(first, last)),
  };
}

/** @param {number} first @param {number} last */
export const longestStride = (first, last) => Math.max(1, Math.min(20, Math.floor((last - first) / 3)));

/**
 * This page's address with the state of one explorer in it.
 * @param {string} name  of the explorer
 * @param {State} state
 */
export function addressOf(name, state) {
  const changed = Object.entries(state).filter(([key, value]) => value !== USUAL.get(key));
  const address = new URL(location.href);
  address.hash = new URLSearchParams({ [name]: JSON.stringify(Object.fromEntries(changed)) }).toString();
  return address;
}

/** @param {string} name  of the explorer */
export const isInAddress = (name) => new URLSearchParams(location.hash.slice(1)).has(name);

/**
 * What the address says of one explorer.
 * @param {string} name
 * @returns {Partial<State>}
 */
export function stateInAddress(name) {
  const found = new URLSearchParams(location.hash.slice(1)).get(name);
  if (!found) return {};
  try {
    const state = JSON.parse(found);
    return Object.fromEntries(Object.entries(state).filter(([key, value]) => typeof value === typeof USUAL.get(key)));
  } catch {
    return {}; // somebody else's
  }
}
