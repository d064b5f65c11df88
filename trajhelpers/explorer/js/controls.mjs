/** What a reader moves: sliders, choices and boxes, each with a label and the value that is said. */

import { longestStride } from "./state.mjs";
import { from } from "./words.mjs";

/** An element with properties and children. */
export function html(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export const button = (label, press) => html("button", { type: "button", textContent: label, onclick: press });

/**
 * By the names of what they change.
 * @param {(changes: Partial<import("./state.mjs").State>) => void} set
 */
export function controlsFor(set) {
  const range = (name, label) => {
    const input = html("input", { type: "range", name, step: 1 }), said = html("output");
    input.oninput = () => set({ [name]: +input.value });
    return { input, said, label: html("label", {}, html("span", {}, label, " ", said), input) };
  };
  const select = (name, label) => {
    const input = html("select", { name });
    input.oninput = () => set({ [name]: name === "run" ? +input.value : input.value });
    return { input, label: html("label", {}, html("span", {}, label), input) };
  };
  const box = (name, label) => {
    const input = html("input", { type: "checkbox", name });
    input.oninput = () => set({ [name]: input.checked });
    return { input, label: html("label", { className: "box" }, input, label) };
  };
  return {
    run: select("run", "run"),
    layers: select("layers", "layers"),
    origin: range("origin", "seen from"),
    stride: range("stride", "every"),
    first: range("first", "from"),
    last: range("last", "to"),
    walk: box("walk", "beside a random walk with the same steps"),
    fixed: box("fixed", "colours from −1"),
  };
}

/** What there is to choose from. */
export function offer(controls, kernels, state) {
  const whole = kernels[state.run], end = whole.n - 1;
  options(controls.run.input, kernels.map(({ label }, i) => [i, label || `run ${i + 1}`]), state.run);
  options(controls.layers.input, [["", "all"], ...whole.groups.map(({ name }) => [name, name])], state.layers);
  controls.run.label.hidden = kernels.length < 2;
  controls.layers.label.hidden = whole.groups.length < 2;
  limits(controls.origin.input, -1, end);
  limits(controls.stride.input, 1, longestStride(state.first, state.last));
  limits(controls.first.input, 0, Math.max(end - 2, 0));
  limits(controls.last.input, Math.min(2, end), end);
}

/** What is chosen, as a slider's place and in words. */
export function show(controls, scene) {
  const { state, unit, kernel } = scene;
  const say = (control, value, words) => {
    control.input.value = value;
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

function options(select, choices, chosen) {
  select.replaceChildren(...choices.map(([value, textContent]) => html("option", { value, textContent })));
  select.value = chosen;
}

function limits(input, min, max) {
  Object.assign(input, { min, max });
}
