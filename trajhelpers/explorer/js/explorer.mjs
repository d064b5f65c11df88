/** The explorer: a kernel's map, path, angles and lengths as linked views that a reader moves. */

import { drawCurves, drawMap, drawPath, written } from "./drawing.mjs";
import { kernelIn, kernelOf } from "./files.mjs";
import { angles, components, norms, pathRatio, spectrum } from "./hallmarks.mjs";
import { O, degrees, everyOf } from "./kernel.mjs";
import { asTable, picture, save } from "./saving.mjs";

const ANGLES = {
  consecutive: "consecutive updates",
  update_position: "update, position",
  update_total: "update, whole way",
  progress_total: "way so far, whole way",
};
const LENGTHS = { parameters: "‖θ‖", updates: "updates", from_initialization: "from the start" };
const STARTING = { run: 0, layers: "", origin: O, stride: 1, first: 0, last: -1, walk: false, fixed: false };

let count = 0;

/** All explorers of a document that are still pictures. */
export function mountAll() {
  for (const root of document.querySelectorAll(".trajhelpers-explorer:not([data-mounted])")) {
    const data = root.querySelector('script[type="application/json"]');
    root.dataset.mounted = "";
    new Explorer(root, JSON.parse(data.textContent));
  }
}

/** An element with properties and children. */
function html(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

class Explorer {
  /**
   * @param {HTMLElement} root  what it replaces the content of
   * @param {{kernels: object[], unit: string, state?: object}} data  of trajhelpers/explorer
   */
  constructor(root, { kernels, unit, state = {} }) {
    this.root = root;
    this.unit = unit;
    this.kernels = kernels.map(kernelOf);
    this.name = `explorer-${++count}`;
    this.state = { ...STARTING, ...state, ...this.#fromAddress() };
    this.marked = null;
    this.#build();
    this.#choose();
    this.resized = new ResizeObserver(() => this.#drawAll());
    this.resized.observe(root);
    const themed = new MutationObserver(() => this.#drawAll());
    themed.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "data-mode"] });
  }

  // ---- what is there ----

  #build() {
    const range = (name, label) => {
      const input = html("input", { type: "range", name, step: 1 }), said = html("output");
      input.oninput = () => this.set({ [name]: +input.value });
      return { input, said, label: html("label", {}, html("span", {}, label, " ", said), input) };
    };
    const select = (name, label) => {
      const input = html("select", { name });
      input.oninput = () => this.set({ [name]: name === "run" ? +input.value : input.value });
      return { input, label: html("label", {}, html("span", {}, label), input) };
    };
    const box = (name, label) => {
      const input = html("input", { type: "checkbox", name });
      input.oninput = () => this.set({ [name]: input.checked });
      return { input, label: html("label", { className: "box" }, input, label) };
    };
    this.controls = {
      run: select("run", "run"),
      layers: select("layers", "layers"),
      origin: range("origin", "seen from"),
      stride: range("stride", "every"),
      first: range("first", "from"),
      last: range("last", "to"),
      walk: box("walk", "beside a random walk with the same steps"),
      fixed: box("fixed", "colours from −1"),
    };
    const view = (tag) => document.createElementNS(tag === "svg" ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml", tag);
    const figure = (which, ...views) => html("figure", { className: which }, ...views);
    this.views = { map: view("canvas"), walk: view("canvas") };
    for (const name of ["path", "angles", "lengths", "spectrum"]) this.views[name] = view("svg");
    for (const element of Object.values(this.views)) element.setAttribute("role", "img");
    this.views.map.tabIndex = 0;
    this.omega = html("output");
    this.omega.dataset.measure = "omega";
    this.facts = html("span");
    this.said = html("p", { className: "said" });
    this.said.setAttribute("aria-live", "polite");
    this.walkFigure = figure("map", this.views.walk, html("figcaption", {}, "a random walk with the same steps"));
    this.mapCaption = html("figcaption");
    const button = (label, press) => html("button", { type: "button", textContent: label, onclick: press });
    const file = html("input", { type: "file", accept: ".npz", hidden: true, onchange: () => this.#open(file.files[0]) });
    this.link = button("link to this view", () => this.#copyLink());
    this.root.replaceChildren(
      html("div", { className: "controls" }, ...Object.values(this.controls).map(({ label }) => label)),
      html("p", { className: "measures" }, this.omega, this.facts),
      html("div", { className: "views" },
        figure("map", this.views.map, this.mapCaption), this.walkFigure, figure("path", this.views.path),
        figure("wide", this.views.angles), figure("half", this.views.lengths), figure("half", this.views.spectrum)),
      this.said,
      html("div", { className: "controls" }, this.link,
        button("picture (PNG)", () => picture(this.views.map, this.#named("png"))),
        button("curves (SVG)", () => save(this.views.angles, this.#named("svg"))),
        button("numbers (CSV)", () => asTable(this.#table(), this.#named("csv"))),
        button("open a kernel (.npz)", () => file.click()), file),
    );
    this.#listen();
  }

  #listen() {
    const { map, path, angles: bends } = this.views;
    const at = (event) => {
      const place = event.currentTarget.getBoundingClientRect();
      return [event.clientX - place.left, event.clientY - place.top];
    };
    const moveOrigin = (event) => {
      const cell = this.cellAt?.(...at(event));
      if (cell) this.set({ origin: cell[0] });
    };
    let isDragged = false;
    map.onpointerdown = (event) => {
      const cell = this.cellAt?.(...at(event));
      if (!cell || Math.abs(cell[0] - cell[1]) > Math.max(this.state.stride, this.taken.length * 0.04)) return;
      isDragged = true;
      map.setPointerCapture(event.pointerId);
      moveOrigin(event);
    };
    map.onpointerup = map.onpointercancel = () => (isDragged = false);
    map.onpointermove = (event) => (isDragged ? moveOrigin(event) : this.#mark(this.cellAt?.(...at(event)) ?? null));
    path.onpointermove = (event) => {
      const t = this.path?.nearest(...at(event)) ?? null;
      this.#mark(t === null ? null : [t, t]);
    };
    path.onclick = (event) => {
      const t = this.path?.nearest(...at(event)) ?? null;
      if (t !== null) this.set({ origin: t === this.state.origin ? O : t });
    };
    bends.onpointermove = (event) => {
      const place = this.placeAt?.(at(event)[0]);
      if (place !== undefined) this.#mark([this.taken[place], this.taken[place]]);
    };
    for (const view of [map, path, bends]) view.onpointerleave = () => this.#mark(null);
    map.onkeydown = (event) => this.#key(event);
    // A notebook keeps the arrow keys for itself otherwise.
    this.root.dataset.lmSuppressShortcuts = "true";
    this.root.addEventListener("keydown", (event) => event.stopPropagation());
    this.root.ondragover = (event) => event.preventDefault();
    this.root.ondrop = (event) => {
      event.preventDefault();
      this.#open(event.dataTransfer.files[0]);
    };
  }

  #key(event) {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.key === "Escape") this.#mark(null);
    if (event.key === "Enter" && this.marked) this.set({ origin: this.marked[0] });
    if (!move) return;
    event.preventDefault();
    const { kept } = this.seen, places = (this.marked ?? [kept[0], kept[0]]).map((t) => Math.max(0, kept.indexOf(t)));
    this.#mark(places.map((place, i) => kept[Math.min(kept.length - 1, Math.max(0, place + (this.marked ? move[i] : 0)))]));
  }

  // ---- what changes ----

  /** Change the state: `run`, `layers`, `origin` (−1 for O), `stride`, `first`, `last`, `walk`, `fixed`. */
  set(changes) {
    Object.assign(this.state, changes);
    const isOtherPath = Object.keys(changes).some((name) => !["origin", "fixed"].includes(name));
    if (isOtherPath) this.#choose();
    else this.#see();
  }

  /** The run, its layers, its checkpoints: all but where they are seen from. */
  #choose() {
    const { state, controls } = this;
    const whole = this.kernels[state.run] ?? this.kernels[(state.run = 0)];
    options(controls.run.input, this.kernels.map(({ label }, i) => [i, label || `run ${i + 1}`]), state.run);
    if (!whole.groups.some(({ name }) => name === state.layers)) state.layers = "";
    options(controls.layers.input, [["", "all"], ...whole.groups.map(({ name }) => [name, name])], state.layers);
    controls.run.label.hidden = this.kernels.length < 2;
    controls.layers.label.hidden = whole.groups.length < 2;
    const kernel = (this.kernel = state.layers ? whole.only(state.layers) : whole), end = kernel.n - 1;
    state.last = state.last < 0 || state.last > end ? end : state.last;
    state.first = Math.min(state.first, Math.max(state.last - 2, 0));
    state.last = Math.max(state.last, Math.min(state.first + 2, end));
    state.origin = Math.min(state.origin, end);
    const most = Math.max(1, Math.min(20, Math.floor((state.last - state.first) / 3)));
    state.stride = Math.min(state.stride, most);
    limits(controls.origin.input, -1, end);
    limits(controls.stride.input, 1, most);
    limits(controls.first.input, 0, Math.max(end - 2, 0));
    limits(controls.last.input, Math.min(2, end), end);
    this.taken = everyOf(kernel.n).filter((t) => t >= state.first && t <= state.last && (t - state.first) % state.stride === 0);
    this.bends = angles(kernel, this.taken);
    this.lengths = norms(kernel, this.taken);
    this.plane = components(kernel, this.taken);
    this.ratio = pathRatio(kernel, this.taken);
    this.isPathOld = true;
    this.walk = state.walk ? kernel.asWalk(this.taken) : null;
    this.#see();
  }

  /** The map, from where it is seen. */
  #see() {
    this.seen = this.kernel.cosine(this.state.origin, this.taken);
    if (this.walk) {
      const origin = this.state.origin < 0 ? O : this.taken.findLastIndex((t) => t <= this.state.origin);
      this.walked = this.walk.cosine(origin);
    }
    this.#drawSoon();
    this.#say();
  }

  #drawSoon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.#draw();
    });
  }

  #mark(cell) {
    if (String(cell) === String(this.marked)) return;
    this.marked = cell;
    this.#drawSoon();
    this.#say();
  }

  async #open(file) {
    if (!file) return;
    try {
      this.kernels.push(await kernelIn(await file.arrayBuffer(), file.name));
      this.set({ ...STARTING, run: this.kernels.length - 1 });
    } catch (error) {
      this.said.textContent = `${file.name}: ${error.message}`;
    }
  }

  // ---- what is seen ----

  #drawAll() {
    this.isPathOld = true;
    this.#draw();
  }

  #draw() {
    if (!this.root.clientWidth) return;
    const { state, kernel, taken, views, seen, marked } = this, labels = kernel.steps;
    const ink = getComputedStyle(this.root).color;
    const lightest = Math.min(seen.lowest, this.walk ? this.walked.lowest : 1);
    const lowest = state.fixed ? -1 : Math.min(Math.floor(lightest * 20) / 20, 0.95);
    const look = { lowest, marked, ink, labels, origin: state.origin, unit: this.unit };
    this.cellAt = drawMap(views.map, seen, look);
    this.walkFigure.hidden = !this.walk;
    if (this.walk) {
      drawMap(views.walk, this.walked, { ...look, marked: null, origin: O, labels: this.walk.steps });
    }
    // What does not depend on where it is seen from is drawn once.
    if (this.isPathOld) this.path = drawPath(views.path, this.plane, taken, { labels, title: this.#pathInWords() });
    this.path.mark(marked, state.origin);
    const places = taken.map((_, i) => i), among = taken.map((t) => labels[t]);
    const marks = [...new Set(marked ?? [])].map((t) => taken.indexOf(t)).filter((i) => i >= 0);
    const beginning = { consecutive: 1, update_position: 0, update_total: 0, progress_total: 1 };
    const last = seen.kept.at(-1), k = seen.kept.length;
    const apex = { name: `from ${this.#from()}, to the end`, isGrey: true, places: seen.kept.map((t) => taken.indexOf(t)),
      values: seen.kept.map((t, i) => (t === last ? NaN : degrees(seen.cosine[i * k + k - 1]))) };
    this.placeAt = drawCurves(views.angles,
      [...Object.entries(ANGLES).map(([name, label]) => ({ name: label, values: this.bends[name], places: places.slice(beginning[name]) })), apex],
      { labels: among, range: [0, 180], level: 90, marks, title: "angles (°)", unit: this.unit });
    if (this.isPathOld || marks.length || this.areLengthsMarked) drawCurves(views.lengths,
      Object.entries(LENGTHS).map(([name, label]) => ({ name: label, values: this.lengths[name], places: places.slice(name === "parameters" ? 0 : 1) })),
      { labels: among, marks, isLogarithmic: true, title: "lengths (parameter units)", unit: this.unit });
    this.areLengthsMarked = marks.length > 0;
    this.isPathOld = false;
    this.#drawSpectrum();
  }

  /** Eigenvalues take longer than a frame for long runs: they follow when the hand rests. */
  #drawSpectrum() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      const found = [{ name: "this run", of: this.seen }, ...(this.walk ? [{ name: "random walk", of: this.walked, isGrey: true }] : [])];
      const curves = found.map(({ name, of, isGrey }) => {
        const values = spectrum(of).slice(0, 12);
        return { name, isGrey, values, places: values.map((_, i) => i) };
      });
      const labels = Array.from({ length: Math.min(12, this.seen.kept.length) }, (_, i) => i + 1);
      drawCurves(this.views.spectrum, curves, { labels, range: [0, 1], title: "eigenvalues of the map / their sum", unit: "component" });
    }, 60);
  }

  #from() {
    return this.state.origin < 0 ? "O" : `${this.unit} ${this.kernel.steps[this.state.origin]}`;
  }

  #pathInWords() {
    return `The path of ${this.taken.length} checkpoints in the plane of its first two principal components`;
  }

  #say() {
    const { state, controls, seen, kernel } = this, steps = kernel.steps, from = this.#from();
    const say = (control, value, words) => {
      control.input.value = value;
      control.said.textContent = words;
      control.input.setAttribute("aria-valuetext", words);
    };
    say(controls.origin, state.origin, from);
    say(controls.stride, state.stride, state.stride === 1 ? "checkpoint" : `${state.stride} checkpoints`);
    say(controls.first, state.first, `${this.unit} ${steps[state.first]}`);
    say(controls.last, state.last, `${this.unit} ${steps[state.last]}`);
    controls.walk.input.checked = state.walk;
    controls.fixed.input.checked = state.fixed;
    this.omega.dataset.value = seen.omega;
    this.omega.textContent = `ω ${kernel.sample ? "≈" : "="} ${seen.omega.toFixed(3)}`;
    const walked = this.walk ? `, random walk ${this.walked.omega.toFixed(3)}` : "";
    const rounding = seen.error ? ` · rounding may have moved cosines by ${seen.error.toExponential(0)}` : "";
    const sample = kernel.sample ? ` · an estimate, ${kernel.sample}` : "";
    this.facts.textContent = ` seen from ${from}${walked} · ${this.taken.length} checkpoints · path ${written(this.ratio)} × its displacement${rounding}${sample}`;
    this.mapCaption.textContent = `Cosines between checkpoints, seen from ${from}.`;
    this.views.map.setAttribute("aria-label", `Map of ${seen.kept.length} checkpoints seen from ${from}: mean ${seen.omega.toFixed(3)}, lowest ${seen.lowest.toFixed(2)}. Arrow keys move over its cells, Enter looks from there.`);
    this.views.walk.setAttribute("aria-label", "Map of a random walk with the same steps");
    this.said.textContent = this.marked ? this.#pairInWords(...this.marked) : "Point at a cell, or drag along the diagonal to look from there.";
  }

  #pairInWords(s, t) {
    const { kept, cosine } = this.seen, [i, j] = [kept.indexOf(s), kept.indexOf(t)], { steps } = this.kernel;
    const way = this.kernel.way(s, t), apart = 2 ** this.kernel.exponent * Math.sqrt(Math.max(this.kernel.between(way, way), 0));
    if (s === t) return `${this.unit} ${steps[s]}`;
    const seen = i < 0 || j < 0 ? "" : `, seen from ${this.#from()}: cosine ${cosine[i * kept.length + j].toFixed(3)}, ${degrees(cosine[i * kept.length + j]).toFixed(1)}°`;
    return `${this.unit} ${steps[s]} and ${steps[t]}${seen}; ${written(apart)} apart`;
  }

  // ---- what is kept ----

  #named(ending) {
    return `${this.kernel.label || "map"}.${ending}`.replace(/[^\w.-]+/g, "-");
  }

  #table() {
    const { kept, cosine } = this.seen, { steps } = this.kernel;
    return [["", ...kept.map((t) => steps[t])], ...kept.map((t, i) => [steps[t], ...cosine.slice(i * kept.length, (i + 1) * kept.length)])];
  }

  #copyLink() {
    const changed = Object.entries(this.state).filter(([name, value]) => value !== STARTING[name]);
    const address = new URL(location);
    address.hash = new URLSearchParams({ [this.name]: JSON.stringify(Object.fromEntries(changed)) }).toString();
    history.replaceState(null, "", address);
    const said = () => (this.link.textContent = "the address has it");
    (navigator.clipboard?.writeText(address.href) ?? Promise.reject()).then(() => (this.link.textContent = "link copied"), said);
  }

  #fromAddress() {
    const found = new URLSearchParams(location.hash.slice(1)).get(this.name);
    if (!found) return {};
    try {
      const state = JSON.parse(found);
      return Object.fromEntries(Object.entries(state).filter(([name, value]) => typeof value === typeof STARTING[name]));
    } catch {
      return {}; // somebody else's
    }
  }
}

function options(select, choices, chosen) {
  select.replaceChildren(...choices.map(([value, textContent]) => html("option", { value, textContent })));
  select.value = chosen;
}

function limits(input, min, max) {
  Object.assign(input, { min, max });
}
