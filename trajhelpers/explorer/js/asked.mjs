/** What a reader of the gallery has asked for, and the address that holds it. */

import { O } from "./kernel.mjs";

export const ALL = "all"; // studies
export const FIELD = "is-"; // before a recipe's field in the address

/**
 * @typedef {object} Asked
 * @property {string} study
 * @property {string} sort    ω, ω₀, a recipe's field or a result
 * @property {boolean} down   the highest first
 * @property {"O"|"start"} from  where the grid's maps are seen from
 * @property {string} a       the runs side by side, "" for those at the ends of the grid
 * @property {string} b
 * @property {number} origin  where those two are seen from
 *
 * @typedef {Record<string, string>} Wanted  values of recipes' fields, as text
 */

/** @type {Asked} */
export const STARTING = { study: "momentum-decay-vgg", sort: "ω", down: false, from: "O", a: "", b: "", origin: O };

/**
 * What the address says; what it cannot mean is as at the start.
 * @param {(study: string) => boolean} isStudy
 * @returns {{state: Asked, wanted: Wanted}}
 */
export function askedInAddress(isStudy) {
  const given = new URLSearchParams(location.search), state = { ...STARTING };
  for (const name of /** @type {const} */ (["sort", "a", "b"])) state[name] = given.get(name) ?? state[name];
  const study = given.get("study"), origin = given.get("origin");
  if (study !== null && isStudy(study)) state.study = study;
  if (given.get("from") === "start") state.from = "start";
  state.down = given.get("down") === "true";
  if (Number.isInteger(Number(origin ?? NaN))) state.origin = Number(origin);
  const fields = [...given].filter(([name]) => name.startsWith(FIELD));
  return { state, wanted: Object.fromEntries(fields.map(([name, value]) => [name.slice(FIELD.length), value])) };
}

/**
 * This page's address with what is asked for in it.
 * @param {Asked} state
 * @param {Wanted} wanted
 */
export function addressOfAsked(state, wanted) {
  const address = new URL(location.href), { searchParams: said } = address;
  for (const name of [...said.keys()]) if (name in STARTING || name.startsWith(FIELD)) said.delete(name);
  const usual = new Map(Object.entries(STARTING));
  for (const [name, value] of Object.entries(state)) if (value !== usual.get(name)) said.set(name, String(value));
  for (const [name, value] of Object.entries(wanted)) said.set(FIELD + name, value);
  return address;
}
