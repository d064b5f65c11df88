/** What a reader moves: sliders, choices and boxes, each with a label and the value that is said. */

import { html } from "./elements.mjs";
import { longestStride } from "./state.mjs";
import { from } from "./words.mjs";

/**
 * @typedef {import("./state.mjs").State} State
 * @typedef {import("./kernel.mjs").Kernel} Kernel
 * @typedef {ReturnType<typeof controlsFor>} Controls
 * @typedef {{input: HTMLInputElement, said: HTMLElement, label: HTMLLabelElement}} Range
 */

/** @param {string} label @param {() => void} press */
export const button = (label, press) => html("button", { type: "button", textContent: label, onclick: press });

/**
 * By the names of what they change.
 * @param {(changes: Partial<State>) => void} set
 */
export function controlsFor(set) {
  /** @param {keyof State} name @param {string} label @returns {Range} */
  const range = (name, label) => {
    const input = html("input", { type: "range", name, step: "1" });
    // The slider itself says its value. (An output would take the label for its own.)
    const said = html("span", { "aria-hidden": "true" });
    input.oninput = () => set({ [name]: +input.value });
    return { input, said, label: html("label", {}, html("span", {}, label, " ", said), input) };
  };
  /** @param {keyof State} name @param {string} label */
  const select = (name, label) => {
    const input = html("select", { name });
    input.oninput = () => set({ [name]: name === "run" ? +input.value : input.value });
    return { input, label: html("label", {}, html("span", {}, label), input) };
  };
  /** @param {keyof State} name @param {string} label */
  const box = (name, label) => {
    const input = html("input", { type: "checkbox", name });
    input.oninput = () => set({ [name]: input.checked });
    return { input, label: html("label", { className: "box" }, input, label) };
  };
  const last = range("last", "to");
  // To the end, also of a run that has another.
  last.input.oninput = () => set({ last: last.input.value === last.input.max ? -1 : +last.input.value });
  return {
    run: select("run", "run"),
    layers: select("layers", "layers"),
    origin: range("origin", "seen from"),
    stride: range("stride", "every"),
    first: range("first", "from"),
    last,
    walk: box("walk", "beside a random walk with the same steps"),
    fixed: box("fixed", "colours from −1"),
  };
}

/**
 * What there is to choose from.
 * @param {Controls} controls
 * @param {Kernel[]} kernels
 * @param {State} state
 */
export function offer(controls, kernels, state) {
  const whole = kernels[state.run], end = whole.n - 1;
  options(controls.run.input, kernels.map((_, i) => String(i)), kernels.map(({ label }, i) => label || `run ${i + 1}`), String(state.run));
  const names = whole.groups.map(({ name }) => name);
  options(controls.layers.input, ["", ...names], ["all", ...names], state.layers);
  controls.run.label.hidden = kernels.length < 2;
  controls.layers.label.hidden = whole.groups.length < 2;
  limits(controls.origin.input, -1, end);
  limits(controls.stride.input, 1, longestStride(state.first, state.last));
  limits(controls.first.input, 0, Math.max(end - 2, 0));
  limits(controls.last.input, Math.min(2, end), end);
}

/**
 * What is chosen, as a slider's place and in words.
 * @param {Controls} controls
 * @param {import("./scene.mjs").Scene} scene
 */
export function show(controls, scene) {
  const { state, unit, kernel } = scene;
  /** @param {Range} control @param {number} value @param {string} words */
  const say = (control, value, words) => {
    control.input.value = String(value);
    control.said.textContent = words;
    control.input.setAttribute("aria-valuetext", words);
  };
  say(controls.origin, state.origin, from(scene));
  say(controls.stride, state.stride, state.stride === 1 ? "checkpoint" : `${state.stride} checkpoints`);
  say(controls.first, state.first, `${unit} ${kernel.steps[state.first]}`);
  say(controls.last, state.last, `${unit} ${kernel.steps[state.last]}`);
  controls.walk.input.checked = state.walk;
  controls.fixed.input.checked = state.fixed;
}

/** @param {HTMLSelectElement} select @param {string[]} values @param {string[]} labels @param {string} chosen */
function options(select, values, labels, chosen) {
  select.replaceChildren(...values.map((value, i) => html("option", { value, textContent: labels[i] })));
  select.value = chosen;
}

/** @param {HTMLInputElement} input @param {number} min @param {number} max */
function limits(input, min, max) {
  input.min = String(min);
  input.max = String(max);
}
