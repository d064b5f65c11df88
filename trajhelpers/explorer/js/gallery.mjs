/** All stored runs: choose a study, filter and sort its maps, and set two of them side by side. */

import { Beside } from "./beside.mjs";
import { css, mapColour } from "./colours.mjs";
import { html } from "./elements.mjs";
import { O } from "./kernel.mjs";
import { inOrder, inWords, matching, nameOf, recipeInWords, runsOf, valuesOf, varying } from "./runs.mjs";
import { drawSmall, mark, measure, tileOf } from "./tiles.mjs";

const ALL = "all";
const STARTING = { study: "momentum-decay-vgg", sort: "ω", down: false, from: "O", a: "", b: "", origin: O };
const FIELD = "is-"; // before a recipe's field in the address
const SLICE = 12; // milliseconds that a page may be kept busy at a time
const RESULTS = ["test_accuracy", "train_accuracy", "validation_loss", "test_loss", "train_loss"];
// Where the script lies, there lie the studies' too.
const here = document.currentScript?.src;

/** The gallery of a page, which has one. */
export function mountAll() {
  const root = document.querySelector(".trajhelpers-gallery:not([data-mounted])");
  if (!root) return;
  root.dataset.mounted = "";
  new Gallery(root, window.trajhelpersGallery);
}

class Gallery {
  /**
   * @param {HTMLElement} root  it is added to, the picture in it hidden
   * @param {{studies: {name: string, runs: number, chapter: string, page: string}[],
   *   distinct: number}} about  of book/gallery.py
   */
  constructor(root, { studies, distinct }) {
    this.studies = Object.fromEntries(studies.map((study) => [study.name, study]));
    this.distinct = distinct;
    this.files = {}; // by study: the promise of its runs
    window.trajhelpersRuns = (study, content) => (this.arrived = runsOf(study, content));
    this.next = "a";
    this.#fromAddress();
    this.#build(root);
    new ResizeObserver(() => this.beside.draw()).observe(this.beside.element);
    const themed = new MutationObserver(() => this.beside.draw());
    themed.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "data-mode"] });
    this.#open();
  }

  // ---- what is there ----

  #build(root) {
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
    this.from.input.oninput = () => this.#set({ from: this.from.input.value });
    this.down = html("input", { type: "checkbox", name: "down" });
    this.down.oninput = () => this.#set({ down: this.down.checked });
    this.fields = html("div", { className: "controls" });
    this.filters = html("details", {}, html("summary", { textContent: "filter" }), this.fields);
    this.said = html("p", { className: "said" });
    this.said.setAttribute("role", "status");
    this.scale = html("span", { className: "scale" });
    this.list = html("ul", { className: "maps" });
    this.list.setAttribute("role", "list");
    this.list.setAttribute("aria-label", "Maps of the runs. Arrow keys move, Enter chooses");
    this.list.onkeydown = (event) => this.#move(event);
    this.list.onclick = (event) => this.#press(event.target.closest("button"));
    const swap = () => this.#set({ a: this.pair[1].id, b: this.pair[0].id });
    this.beside = new Beside((origin) => this.#set({ origin }), swap);
    const near = { root: this.list, rootMargin: "300px" };
    this.seen = new IntersectionObserver((entries) => this.#draw(entries), near);
    root.append(html("div", { className: "live" },
      html("div", { className: "controls" }, this.study.label, this.sort.label,
        html("label", { className: "box" }, this.down, "highest first"), this.from.label),
      this.filters, this.beside.element, html("div", { className: "legend" }, this.said, this.scale), this.list));
  }

  // ---- what changes ----

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
    this.list.setAttribute("aria-busy", "true");
    const found = new Map(), isOld = () => this.state.study !== study;
    try {
      for (const name of names) {
        this.#say(`Reading ${name} …`);
        for (const run of await this.#load(name)) if (!found.has(run.id)) found.set(run.id, run);
        if (isOld()) return;
      }
    } catch (error) {
      this.#say(error.message);
      return;
    }
    const runs = [...found.values()];
    let until = performance.now() + SLICE;
    for (const [done, run] of runs.entries()) {
      measure(run);
      run.tile ??= tileOf(run);
      if (performance.now() < until) continue;
      this.#say(`Measured ${done + 1} of ${runs.length} runs …`);
      await new Promise((resolve) => setTimeout(resolve));
      if (isOld()) return;
      until = performance.now() + SLICE;
    }
    this.runs = runs;
    this.list.removeAttribute("aria-busy");
    this.#offer();
    this.#arrange();
  }

  /** A study's runs, from its script: a page that lies on a disk may load nothing else. */
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
    const isAll = this.state.study === ALL, own = {};
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
    const value = { "ω": (run) => run.omega.O, "ω₀": (run) => run.omega.start }[sort] ??
      ((run) => run.results[sort] ?? valuesOf(run, sort)[0]);
    this.shown = inOrder(matching(this.runs, this.wanted), value, down);
    const lowest = Math.min(...this.shown.map((run) => run.lowest[from]), 0.95);
    this.lowest = Math.floor(lowest * 20) / 20;
    for (const { tile, omega, results } of this.shown) {
      tile.omega.textContent = `${from === "O" ? "ω" : "ω₀"} ${omega[from].toFixed(3)}`;
      tile.omega.dataset.value = omega[from];
      tile.result.textContent = sort in results ? `${nameOf(sort)} ${results[sort].toFixed(3)}` : "";
      tile.item.classList.remove("drawn");
    }
    this.seen.disconnect();
    this.undrawn = new Set();
    this.runOf = new Map(this.shown.map((run) => [run.tile.item, run]));
    this.list.replaceChildren(...this.shown.map(({ tile }) => tile.item));
    for (const { tile } of this.shown) this.seen.observe(tile.item);
    const all = this.runs.length, count = this.shown.length;
    const found = `${count === all ? all : `${count} of ${all}`} runs`;
    this.#say(count ? found : "No run has all of that: set a filter back to “any”.");
    this.#drawScale();
    this.#compare();
  }

  /** Until a reader chooses, the first and the last of the grid. */
  #compare() {
    if (!this.runs) return;
    const { a, b, origin } = this.state, by = (id) => this.runs.find((run) => run.id === id);
    const ends = this.shown.length ? [this.shown[0], this.shown.at(-1)] : [this.runs[0], this.runs.at(-1)];
    const first = by(a) ?? (by(b) === ends[0] ? ends[1] : ends[0]);
    this.pair = [first, by(b) ?? (first === ends[1] ? ends[0] : ends[1])];
    this.state.origin = this.beside.show(this.pair, origin, this.studies);
    for (const { tile } of this.runs) mark(tile, "");
    mark(this.pair[1].tile, "B");
    mark(this.pair[0].tile, "A");
    this.#reach(this.list.querySelector("button[tabindex='0']") ?? this.list.querySelector("button"));
    this.#toAddress();
  }

  #press(button) {
    const run = button && this.shown.find(({ tile }) => tile.button === button);
    if (!run) return;
    this.#reach(button);
    const which = this.next;
    this.next = which === "a" ? "b" : "a";
    this.#set({ [which]: run.id });
    const [letter, other] = which === "a" ? ["A", "B"] : ["B", "A"];
    this.#say(`${letter} is ${run.tile.recipe.textContent}; the next that you choose becomes ${other}.`);
  }

  /** One of the maps is reached by Tab, the others from there by arrows. */
  #reach(button) {
    for (const other of this.list.querySelectorAll("button[tabindex='0']")) other.tabIndex = -1;
    if (button) button.tabIndex = 0;
  }

  #move(event) {
    const buttons = this.shown.map(({ tile }) => tile.button), at = buttons.indexOf(document.activeElement);
    const columns = getComputedStyle(this.list).gridTemplateColumns.split(" ").length;
    const last = buttons.length - 1, ends = { Home: -at, End: last - at };
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, ...ends }[event.key];
    if (step === undefined || at < 0) return;
    event.preventDefault();
    const to = buttons[Math.min(last, Math.max(0, at + step))];
    this.#reach(to);
    to.focus();
  }

  // ---- what is seen ----

  /** Those maps that come into view, a slice of them at a time. */
  #draw(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.undrawn.add(target);
      else this.undrawn.delete(target);
    }
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      const until = performance.now() + SLICE;
      for (const item of this.undrawn) {
        const { tile, kernel } = this.runOf.get(item);
        drawSmall(tile.canvas, kernel, this.state.from === "O" ? O : 0, this.lowest);
        item.classList.add("drawn");
        this.seen.unobserve(item);
        this.undrawn.delete(item);
        if (performance.now() > until) break;
      }
      if (this.undrawn.size) this.#draw([]);
    });
  }

  #drawScale() {
    const places = Array.from({ length: 11 }, (_, i) => css(mapColour(i / 10)));
    const bar = html("i", { className: "bar" });
    bar.style.background = `linear-gradient(to right, ${places.join(", ")})`;
    this.scale.replaceChildren(`cosine ${this.lowest.toFixed(2).replace("-", "−")}`, bar, "1");
  }

  #say(words) {
    if (this.said.textContent !== words) this.said.textContent = words;
  }

  // ---- the address ----

  /** Soon, since browsers refuse an address that changes with every frame. */
  #toAddress() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      const address = new URL(location);
      const { searchParams: said } = address;
      for (const name of [...said.keys()]) if (name in STARTING || name.startsWith(FIELD)) said.delete(name);
      for (const [name, value] of Object.entries(this.state)) if (value !== STARTING[name]) said.set(name, value);
      for (const [name, value] of Object.entries(this.wanted)) said.set(FIELD + name, value);
      history.replaceState(history.state, "", address);
    }, 200);
  }

  #fromAddress() {
    const given = new URLSearchParams(location.search);
    const read = { boolean: (text) => text === "true", number: Number, string: String };
    this.state = { ...STARTING };
    for (const [name, value] of Object.entries(STARTING))
      if (given.has(name)) this.state[name] = read[typeof value](given.get(name));
    if (this.state.study !== ALL && !this.studies[this.state.study]) this.state.study = STARTING.study;
    if (!["O", "start"].includes(this.state.from)) this.state.from = STARTING.from;
    const fields = [...given].filter(([name]) => name.startsWith(FIELD));
    this.wanted = Object.fromEntries(fields.map(([name, value]) => [name.slice(FIELD.length), value]));
  }
}

function options(select, choices) {
  select.replaceChildren(...choices.map(([value, textContent]) => html("option", { value, textContent })));
}
