/** Stored runs: what tells them apart, which of them are wanted, and in what order. */

import { written } from "./drawing.mjs";

/**
 * @typedef {string|number|boolean} Value
 * @typedef {Record<string, Value|Value[]>} Recipe
 *   by the names of Python's fields, a list where a run is in several arms
 * @typedef {{name: string, values: Value[]}} Column
 * @typedef {{id: string, study: string, unit: string, recipe: Recipe,
 *   results: Record<string, number>, data: import("./files.mjs").Embedded}} Stored
 *   `results` what was measured at the end of training; `data` the kernel, as it came
 * @typedef {{unit: string, shared: Recipe, runs: {run: string, recipe: Recipe,
 *   results: Record<string, number>, kernel: import("./files.mjs").Embedded}[]}} Study
 *   of book/gallery.py
 */

/** @type {Record<string, string>} what fields are called beside a map */
export const SYMBOLS = {
  learning_rate: "η", momentum: "μ", weight_decay: "λ", batch_size: "B", sam_rho: "ρ", label_noise: "label noise",
  decay_exposure: "Σηλ",
};

/** @param {string} column */
export const nameOf = (column) => SYMBOLS[column] ?? column.replaceAll("_", " ");

/**
 * The runs in a study's file; what all of them share is written once there.
 * @param {string} study
 * @param {Study} content
 * @returns {Stored[]}
 */
export function runsOf(study, { unit, shared, runs }) {
  return runs.map(({ run, recipe, results, kernel }) =>
    ({ id: run, study, unit, recipe: { ...shared, ...recipe }, results, data: kernel }));
}

/**
 * A field's values of a run: several where it is in several arms, none where it has no such field.
 * @param {Stored} run
 * @param {string} column
 */
export const valuesOf = (run, column) => [run.recipe[column] ?? []].flat();

/** @param {Value|undefined} a @param {Value|undefined} b */
const compared = (a, b) =>
  typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));

/**
 * The fields that tell runs apart, with their values in order.
 * @param {Stored[]} runs
 * @returns {Column[]}
 */
export function varying(runs) {
  const names = [...new Set(runs.flatMap(({ recipe }) => Object.keys(recipe)))];
  return names
    .map((name) => ({ name, values: [...new Set(runs.flatMap((run) => valuesOf(run, name)))].sort(compared) }))
    .filter(({ name, values }) => values.length > (runs.every((run) => valuesOf(run, name).length) ? 1 : 0));
}

/**
 * Runs that have the wanted value of every field; values as text, as an address has them.
 * @template {Stored} Run
 * @param {Run[]} runs
 * @param {Record<string, string>} wanted
 */
export const matching = (runs, wanted) =>
  runs.filter((run) =>
    Object.entries(wanted).every(([name, value]) => valuesOf(run, name).some((own) => String(own) === value)));

/**
 * Runs by a value, those without one last either way, equals as they were.
 * @template {Stored} Run
 * @param {Run[]} runs
 * @param {(run: Run) => Value|undefined} value
 * @param {boolean} isDown
 */
export function inOrder(runs, value, isDown) {
  const isMissing = (/** @type {Value|undefined} */ x) => x === undefined || Number.isNaN(x);
  return runs
    .map((run) => ({ run, at: value(run) }))
    .sort(({ at: a }, { at: b }) =>
      +isMissing(a) - +isMissing(b) || (isMissing(a) ? 0 : (isDown ? -1 : 1) * compared(a, b)))
    .map(({ run }) => run);
}

/** @param {Value} value */
export const inWords = (value) => (typeof value === "number" ? written(value) : String(value));

/**
 * What tells a run apart, in words.
 * @param {Stored} run
 * @param {Column[]} columns
 */
export const recipeInWords = (run, columns) =>
  columns
    .filter(({ name }) => valuesOf(run, name).length)
    .map(({ name }) => {
      const value = valuesOf(run, name).map(inWords).join(" and ");
      return name === "arm" ? value : `${nameOf(name)}\u00a0${value}`; // not at the end of a line
    })
    .join(" · ");
