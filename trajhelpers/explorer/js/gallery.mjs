/** All stored runs: choose a study, filter and sort its maps, and set two of them side by side. */

import { ALL, FIELD, STARTING, addressOfAsked, askedInAddress } from "./asked.mjs";
import { Beside } from "./beside.mjs";
import { MAP_GRADIENT, cosineAt, lightest } from "./colours.mjs";
import { html } from "./elements.mjs";
import { Grid, SLICE } from "./grid.mjs";
import { O } from "./kernel.mjs";
import { inOrder, inWords, matching, nameOf, recipeInWords, runsOf, valuesOf, varying } from "./runs.mjs";
import { measured } from "./tiles.mjs";

/**
 * @typedef {import("./tiles.mjs").Run} Run
 * @typedef {import("./runs.mjs").Stored} Stored
 * @typedef {{name: string, runs: number, chapter: string, page: string}} About
 * @typedef {(study: string, content: import("./runs.mjs").Study) => void} Arrive
 * @typedef {Window & {trajhelpersGallery: {studies: About[], distinct: number}, trajhelpersRuns: Arrive}} Shared
 *   what book/gallery.py writes, and what it calls in the script of a study
 */

const shared = /** @type {Shared} */ (/** @type {unknown} */ (window));
const RESULTS = ["test_accuracy", "train_accuracy", "validation_loss", "test_loss", "train_loss"];
// Where the script lies, there lie the studies' too.
const here = /** @type {HTMLScriptElement|null} */ (document.currentScript)?.src;

/** The gallery of a page, which has one. */
export function mountAll() {
  /** @type {HTMLElement|null} */
  const root = document.querySelector(".trajhelpers-gallery:not([data-mounted])");
  if (!root) return;
  root.dataset.mounted = "";
  new Gallery(root, shared.trajhelpersGallery);
}

class Gallery {
  /**
   * @param {HTMLElement} root  it is added to, the picture in it hidden
   * @param {Shared["trajhelpersGallery"]} about
   */
  constructor(root, { studies, distinct }) {
    this.studies = Object.fromEntries(studies.map((study) => [study.name, study]));
    this.distinct = distinct;
    /** @type {Record<string, Promise<Stored[]>|undefined>} by study */
    this.files = {};
    /** @type {Stored[]} of the file that came last */
    this.arrived = [];
    shared.trajhelpersRuns = (study, content) => (this.arrived = runsOf(study, content));
    /** @type {"a"|"b"} which the next run is that is chosen */
    this.next = "a";
    const { state, wanted } = askedInAddress((study) => study === ALL || Object.hasOwn(this.studies, study));
    this.state = state;
    this.wanted = wanted;
    /** @type {Run[]} of the study */
    this.runs = [];
    /** @type {import("./runs.mjs").Column[]} what tells them apart */
    this.columns = [];
    /** @type {Run[]} that are wanted, in order */
    this.shown = [];
    /** @type {Run[]} side by side */
    this.pair = [];
    this.lowest = 0; // cosine, of the lightest colour
    this.waiting = 0;
    /** @param {string} name @param {string} label */
    const select = (name, label) => {
      const input = html("select", { name });
      return { input, label: html("label", {}, html("span", {}, label), input) };
    };
    this.study = select("study", "study");
    options(this.study.input, [
      ...Object.values(this.studies).map(({ name, runs }) => [name, `${name} (${runs})`]),
      [ALL, `all studies (${this.distinct})`],
    ]);
    this.study.input.oninput = () => {
      Object.assign(this.state, { study: this.study.input.value, a: "", b: "", origin: O, sort: "ω" });
      this.wanted = {};
      this.#open();
    };
    this.sort = select("sort", "sort by");
    this.sort.input.oninput = () => this.#set({ sort: this.sort.input.value });
    this.from = select("from", "maps seen from");
    options(this.from.input, [["O", "O, the zero of parameter space"], ["start", "θ₀, the initialization"]]);
    this.from.input.oninput = () => this.#set({ from: this.from.input.value === "start" ? "start" : "O" });
    this.down = html("input", { type: "checkbox", name: "down" });
    this.down.oninput = () => this.#set({ down: this.down.checked });
    this.fields = html("div", { className: "controls" });
    this.filters = html("details", {}, html("summary", { textContent: "filter" }), this.fields);
    this.said = html("p", { className: "said" });
    this.said.setAttribute("role", "status");
    this.scale = html("span", { className: "scale" });
    this.grid = new Grid((run) => this.#choose(run));
    const swap = () => this.#set({ a: this.pair[1].id, b: this.pair[0].id });
    this.beside = new Beside((origin) => this.#set({ origin }), swap);
    root.append(html("div", { className: "live" },
      html("div", { className: "controls" }, this.study.label, this.sort.label,
        html("label", { className: "box" }, this.down, "highest first"), this.from.label),
      this.filters, this.beside.element, html("div", { className: "legend" }, this.said, this.scale), this.grid.list));
    new ResizeObserver(() => this.beside.draw()).observe(this.beside.element);
    const themed = new MutationObserver(() => this.beside.draw());
    themed.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "data-mode"] });
    this.#open();
  }

  // ---- what changes ----

  /** @param {Partial<import("./asked.mjs").Asked>} changes */
  #set(changes) {
    const isGridOld = ["sort", "down", "from"].some((name) => name in changes);
    Object.assign(this.state, changes);
    if (isGridOld) this.#arrange();
    else this.#compare();
  }

  /** The runs of a study, or of all: loaded, measured a slice at a time, and shown. */
  async #open() {
    const { study } = this.state, names = study === ALL ? Object.keys(this.studies) : [study];
    this.study.input.value = study;
    this.grid.list.setAttribute("aria-busy", "true");
    /** @type {Map<string, Stored>} */
    const found = new Map();
    const isOld = () => this.state.study !== study;
    try {
      for (const name of names) {
        this.#say(`Reading ${name} …`);
        for (const run of await this.#load(name)) if (!found.has(run.id)) found.set(run.id, run);
        if (isOld()) return;
      }
    } catch (error) {
      this.#say(error instanceof Error ? error.message : String(error));
      return;
    }
    const stored = [...found.values()], runs = [];
    let until = performance.now() + SLICE;
    for (const [done, run] of stored.entries()) {
      runs.push(measured(run));
      if (performance.now() < until) continue;
      this.#say(`Measured ${done + 1} of ${stored.length} runs …`);
      await new Promise((resolve) => setTimeout(resolve));
      if (isOld()) return;
      until = performance.now() + SLICE;
    }
    this.runs = runs;
    this.grid.list.removeAttribute("aria-busy");
    this.#offer();
    this.#arrange();
  }

  /**
   * A study's runs, from its script: a page that lies on a disk may load nothing else.
   * @param {string} name
   * @returns {Promise<Stored[]>}
   */
  #load(name) {
    this.files[name] ??= new Promise((resolve, reject) => {
      const script = html("script", { src: new URL(`runs/${name}.js`, here).href });
      script.onload = () => resolve(this.arrived);
      script.onerror = () => {
        delete this.files[name];
        reject(new Error(`The runs of ${name} cannot be read: ${script.src}`));
      };
      document.head.append(script);
    });
    return this.files[name];
  }

  /** What these runs can be sorted and filtered by. */
  #offer() {
    this.columns = varying(this.runs);
    const results = RESULTS.filter((name) => this.runs.some((run) => name in run.results));
    const choices = ["ω", "ω₀", ...this.columns.map(({ name }) => name), ...results];
    if (!choices.includes(this.state.sort)) this.state.sort = STARTING.sort;
    /** @type {Record<string, string>} */
    const said = { "ω": "ω, seen from O", "ω₀": "ω₀, seen from θ₀" };
    options(this.sort.input, choices.map((name) => [name, said[name] ?? nameOf(name)]));
    const offered = Object.fromEntries(this.columns.map(({ name, values }) => [name, values.map(String)]));
    for (const [name, value] of Object.entries(this.wanted))
      if (!offered[name]?.includes(value)) delete this.wanted[name];
    this.fields.replaceChildren(...this.columns.map(({ name, values }) => {
      const input = html("select", { name: FIELD + name });
      options(input, [["", "any"], ...values.map((value) => [String(value), inWords(value)])]);
      input.value = this.wanted[name] ?? "";
      input.oninput = () => {
        if (input.value) this.wanted[name] = input.value;
        else delete this.wanted[name];
        this.#arrange();
      };
      return html("label", {}, html("span", {}, nameOf(name)), input);
    }));
    this.filters.open = Object.keys(this.wanted).length > 0 || (this.columns.length < 7 && innerWidth > 700);
    // Of all runs, those fields that tell a study's own apart.
    const isAll = this.state.study === ALL;
    /** @type {Record<string, import("./runs.mjs").Column[]>} */
    const own = {};
    if (isAll)
      for (const study of Object.keys(this.studies))
        own[study] = varying(this.runs.filter((run) => run.study === study));
    for (const run of this.runs) {
      const columns = isAll ? own[run.study] : this.columns;
      run.tile.recipe.textContent = `${isAll ? `${run.study}: ` : ""}${recipeInWords(run, columns)}`;
    }
  }

  /** The grid: what is wanted, in its order, on one scale of colours. */
  #arrange() {
    const { sort, down, from } = this.state;
    this.sort.input.value = sort;
    this.down.checked = down;
    this.from.input.value = from;
    const value = (/** @type {Run} */ run) => {
      if (sort === "ω") return run.omega.O;
      if (sort === "ω₀") return run.omega.start;
      return run.results[sort] ?? valuesOf(run, sort)[0];
    };
    this.shown = inOrder(matching(this.runs, this.wanted), value, down);
    this.lowest = lightest(Math.min(...this.shown.map((run) => run.lowest[from])));
    for (const { tile, omega, results } of this.shown) {
      tile.omega.textContent = `${from === "O" ? "ω" : "ω₀"} ${omega[from].toFixed(3)}`;
      tile.omega.dataset.value = String(omega[from]);
      if (sort === "ω" || sort === "ω₀") {
        const place = sort === "ω" ? "O" : "start";
        tile.result.textContent = place === from ? "" : `${sort} ${omega[place].toFixed(3)}`;
      } else tile.result.textContent = sort in results ? `${nameOf(sort)} ${results[sort].toFixed(3)}` : "";
    }
    this.grid.show(this.shown, from, this.lowest);
    const all = this.runs.length, count = this.shown.length;
    const found = `${count === all ? all : `${count} of ${all}`} runs`;
    this.#say(count ? found : "No run has all of that: set a filter back to “any”.");
    this.#drawScale();
    this.#compare();
  }

  /** Until a reader chooses, the first and the last of the grid. */
  #compare() {
    if (!this.runs.length) return;
    const { a, b, origin } = this.state, by = (/** @type {string} */ id) => this.runs.find((run) => run.id === id);
    const among = this.shown.length ? this.shown : this.runs, ends = [among[0], among[among.length - 1]];
    const first = by(a) ?? (by(b) === ends[0] ? ends[1] : ends[0]);
    this.pair = [first, by(b) ?? (first === ends[1] ? ends[0] : ends[1])];
    this.state.origin = this.beside.show(this.pair, origin, this.studies);
    this.grid.mark(this.pair, this.runs);
    this.#toAddress();
  }

  /** @param {Run} run */
  #choose(run) {
    const which = this.next;
    this.next = which === "a" ? "b" : "a";
    this.#set({ [which]: run.id });
    const [letter, other] = which === "a" ? ["A", "B"] : ["B", "A"];
    this.#say(`${letter} is ${run.tile.recipe.textContent}; the next that you choose becomes ${other}.`);
  }

  #drawScale() {
    const bar = html("i", { className: "bar" });
    bar.style.background = MAP_GRADIENT;
    this.scale.replaceChildren(`cosine ${cosineAt(this.lowest, 0)}`, bar, "1");
  }

  /** @param {string} words */
  #say(words) {
    if (this.said.textContent !== words) this.said.textContent = words;
  }

  /** Soon, since browsers refuse an address that changes with every frame. */
  #toAddress() {
    clearTimeout(this.waiting);
    this.waiting = window.setTimeout(() => {
      history.replaceState(history.state, "", addressOfAsked(this.state, this.wanted));
    }, 200);
  }
}

/**
 * @param {HTMLSelectElement} select
 * @param {string[][]} choices  a value and what is read
 */
function options(select, choices) {
  select.replaceChildren(...choices.map(([value, textContent]) => html("option", { value, textContent })));
}
