/** A sentence with something in it that is moved, and numbers that follow. */

import { html } from "./elements.mjs";
import { mountEach } from "./mounting.mjs";

/**
 * @typedef {{name: string, options: string[], isLine: boolean}} Choice
 * @typedef {(place: number) => void} Move
 */

/** All sentences of a document that do not move yet. */
export function mountAll() {
  mountEach("sentence", sentenceOf);
}

/**
 * @param {{parts: (string|{choice?: number, said?: number, value?: number})[],
 *   choices: Choice[], columns: string[],
 *   rows: {at: number[], values: [number|string, string][]}[]}} data
 *   a row's `at` has the place of each choice among its options, `values` all digits and how they
 *   are read
 * @returns {HTMLElement}
 */
function sentenceOf({ parts, choices, columns, rows }) {
  const at = [...rows[0].at], byPlace = new Map(rows.map((row) => [String(row.at), row.values]));
  const controls = choices.map((choice, level) => {
    const move = (/** @type {number} */ place) => {
      at[level] = place;
      follow();
      spoken.textContent = inWords();
    };
    return choice.isLine ? line(choice, move) : list(choice, move);
  });
  /** @type {{element: HTMLElement, level: number}[]} */
  const again = [];
  /** @type {{element: HTMLElement, column: number}[]} */
  const shown = [];
  const pieces = parts.map((part) => {
    if (typeof part === "string") return part;
    if (part.choice !== undefined) return controls[part.choice].whole;
    const element = html("b");
    if (part.said !== undefined) again.push({ element, level: part.said });
    if (part.value !== undefined) {
      element.dataset.measure = columns[part.value];
      shown.push({ element, column: part.value });
    }
    return element;
  });
  const missing = html("span", { className: "missing" });
  const sentence = html("p", { className: "live" }, ...pieces, missing);
  const spoken = html("p", { className: "spoken", "aria-live": "polite" });

  const follow = () => {
    const values = byPlace.get(String(at));
    controls.forEach(({ say }, level) => say(at[level]));
    for (const { element, level } of again) element.textContent = choices[level].options[at[level]];
    for (const { element, column } of shown) {
      const [value, text] = values ? values[column] : ["", "–"];
      element.dataset.value = String(value);
      element.textContent = text;
    }
    missing.textContent = values ? "" : " (This was not run.)";
  };
  /** The whole of it, since a number alone says little. */
  const inWords = () => {
    const values = byPlace.get(String(at));
    if (!values) return "This was not run.";
    return parts.map((part) => {
      if (typeof part === "string") return part;
      if (part.value !== undefined) return values[part.value][1];
      const level = part.choice ?? part.said ?? 0;
      return choices[level].options[at[level]];
    }).join("");
  };
  follow();
  return html("div", {}, sentence, spoken);
}

/**
 * @param {Choice} choice
 * @param {Move} move
 * @returns {{whole: HTMLElement, say: Move}}
 */
function list({ name, options }, move) {
  const offered = options.map((text, place) => html("option", { value: String(place) }, text));
  const select = html("select", { name, "aria-label": name }, ...offered);
  select.oninput = () => move(+select.value);
  return { whole: select, say: (place) => void (select.value = String(place)) };
}

/**
 * @param {Choice} choice
 * @param {Move} move
 * @returns {{whole: HTMLElement, say: Move}}
 */
function line({ name, options }, move) {
  const ends = { min: "0", max: String(options.length - 1), step: "1" };
  const input = html("input", { type: "range", name, ...ends, "aria-label": name });
  const value = html("b"), whole = html("span", { className: "line" }, value, input);
  value.style.minWidth = `${Math.max(...options.map((text) => text.length))}ch`;
  input.oninput = () => move(+input.value);
  const say = (/** @type {number} */ place) => {
    input.value = String(place);
    input.setAttribute("aria-valuetext", options[place]);
    value.textContent = options[place];
  };
  return { whole, say };
}
