/** The explorer: a kernel's map, path, angles and lengths as linked views that a reader moves. */

import { button, controlsFor, offer, show } from "./controls.mjs";
import { html } from "./elements.mjs";
import { kernelOf } from "./files.mjs";
import { listen } from "./listening.mjs";
import { eachInTurn } from "./mounting.mjs";
import { Opening } from "./opening.mjs";
import { Player } from "./playing.mjs";
import { asTable, picture, save } from "./saving.mjs";
import { chosen, grownTo, lowestOf, measured, seenFrom } from "./scene.mjs";
import { STARTING, addressOf, fitted, isInAddress, stateInAddress } from "./state.mjs";
import { tableOf } from "./tables.mjs";
import { Views } from "./views.mjs";
import { factsOf, from, pairInWords } from "./words.mjs";

/**
 * @typedef {import("./scene.mjs").Scene} Scene
 * @typedef {import("./state.mjs").State} State
 * @typedef {import("./maps.mjs").Pair} Pair
 */

const LINK = "link to this view";

let count = 0;

/** All explorers of a document that are still pictures. */
export function mountAll() {
  /** @type {NodeListOf<HTMLElement>} */
  const roots = document.querySelectorAll(".trajhelpers-explorer:not([data-mounted])");
  // Addresses name them, in the document's order.
  const names = new Map([...roots].map((root) => [root, `explorer-${++count}`]));
  const named = [...roots].find((root) => isInAddress(names.get(root) ?? ""));
  for (const root of roots) root.dataset.mounted = "";
  eachInTurn(roots, (root) => {
    const data = root.querySelector('script[type="application/json"]');
    new Explorer(root, names.get(root) ?? "", JSON.parse(data?.textContent ?? ""));
  });
  named?.scrollIntoView();
}

export class Explorer {
  /**
   * @param {HTMLElement} root  what it replaces the content of
   * @param {string} name       in addresses
   * @param {{kernels: import("./files.mjs").Embedded[], unit: string, state?: Partial<State>, play?: boolean}} data
   *   of trajhelpers/explorer
   */
  constructor(root, name, { kernels, unit, state = {}, play = false }) {
    this.root = root;
    this.unit = unit;
    this.kernels = kernels.map(kernelOf);
    this.given = kernels.length;
    this.name = name;
    /** @type {State} what was asked for; each run shows what it has of it */
    this.asked = { ...STARTING, ...state, ...stateInAddress(this.name) };
    /** @type {Pair} what is looked at */
    this.marked = null;
    /** @type {number|null} */
    this.frame = null;
    this.width = 0; // at which it is drawn; none before it is laid out, which may be when it comes near
    this.controls = controlsFor((changes) => this.set(changes));
    this.views = new Views();
    this.opening = new Opening((kernel) => this.add(kernel));
    this.omega = html("output", { "data-measure": "omega" });
    this.facts = html("span");
    this.measures = html("p", { className: "measures" }, this.omega, this.facts);
    this.said = html("p", { className: "said", "aria-live": "polite" });
    this.table = tableOf(() => this.scene);
    this.link = button(LINK, () => this.#copyLink());
    /** @type {import("./scene.mjs").Chosen[]} of every run, what the state chooses of it */
    this.runs = [];
    this.state = this.#fitted();
    this.path = this.#choose();
    /** @type {Scene} all that is chosen */
    this.whole = this.#see();
    /** @type {Scene} what is shown: the whole, or its beginning while it grows */
    this.scene = this.whole;
    this.player = new Player(this);
    this.#build();
    listen(this);
    // What is on the screen is not seen empty for a frame.
    if (root.checkVisibility?.({ contentVisibilityAuto: true })) this.#fit(root.getBoundingClientRect().width);
    if (play) this.player.playInView();
    window.addEventListener("hashchange", () => {
      if (isInAddress(this.name)) this.set({ ...STARTING, ...state, ...stateInAddress(this.name) });
    });
    new ResizeObserver(([{ contentRect }]) => this.#fit(contentRect.width)).observe(root);
    const themed = new MutationObserver(() => this.#drawAll());
    themed.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "data-mode"] });
    for (const wish of ["(prefers-color-scheme: dark)", "(forced-colors: active)"])
      matchMedia(wish).addEventListener("change", () => this.#drawAll());
  }

  #build() {
    // Kept for print, where nothing moves.
    const pictures = this.root.querySelectorAll(":scope > figure");
    this.root.replaceChildren(
      html("div", { className: "controls" }, ...Object.values(this.controls).map(({ label }) => label), this.player.button),
      this.measures,
      this.said,
      this.views.element,
      this.table.element,
      html("div", { className: "controls" }, this.link,
        button("picture (PNG)", () => this.#onWhite(() => picture(this.views.map, this.#named("png")))),
        button("curves (SVG)", () => this.#onWhite(() => save(this.views.angles, this.#named("svg")))),
        button("numbers (CSV)", () => asTable(this.#table(), this.#named("csv")))),
      this.opening.element,
      html("div", { className: "still" }, ...pictures),
    );
  }

  /**
   * Change the state; what grows stops.
   * @param {Partial<State>} changes
   */
  set(changes) {
    this.player.stop();
    Object.assign(this.asked, changes);
    const isOtherPath = Object.keys(changes).some((name) => !["origin", "fixed"].includes(name));
    const grown = isOtherPath ? Infinity : this.scene.taken.length;
    this.state = this.#fitted();
    if (isOtherPath) this.#choose();
    this.#see();
    if (grown < this.whole.taken.length) this.grow(grown);
    this.link.textContent = LINK;
  }

  #fitted() {
    if (!this.kernels[this.asked.run]) this.asked.run = 0;
    return fitted(this.asked, this.kernels[this.asked.run]);
  }

  /**
   * Look at two checkpoints, or at none.
   * @param {Pair} pair
   */
  mark(pair) {
    if (String(pair) === String(this.marked)) return;
    this.marked = pair;
    this.#drawSoon();
    this.#say();
  }

  /**
   * One kernel more, which is shown.
   * @param {import("./kernel.mjs").Kernel} kernel
   */
  add(kernel) {
    this.kernels.push(kernel);
    this.set({ ...STARTING, run: this.kernels.length - 1 });
  }

  /**
   * The run, its layers, its checkpoints: all but where they are seen from.
   * @returns {import("./scene.mjs").Chosen & import("./scene.mjs").Measured}
   */
  #choose() {
    offer(this.controls, this.kernels, this.state);
    this.runs = this.kernels.map((kernel) => chosen(kernel, fitted(this.asked, kernel)));
    const path = this.runs[this.state.run];
    this.path = { ...path, ...measured(path) };
    this.views.isPathOld = true;
    return this.path;
  }

  /**
   * The map, from where it is seen.
   * @returns {Scene}
   */
  #see() {
    const { path, state, runs, asked: { origin } } = this, maps = seenFrom(path, state.origin);
    // One scale for all, so that eyes may compare what a choice of the run shows in turn; what a
    // reader opens has its own.
    const isGiven = state.run < this.given, among = isGiven ? runs.slice(0, this.given) : [];
    const unit = isGiven ? this.unit : "step";
    const others = among.filter((run) => run.kernel !== path.kernel);
    const seen = (/** @type {import("./scene.mjs").Chosen} */ run) => seenFrom(run, Math.min(origin, run.kernel.n - 1));
    /** @type {number|undefined} */
    let found;
    // Not before it is drawn, which may be never: of many runs it takes long.
    const lowest = () => (found ??= state.fixed ? -1 : lowestOf([maps, ...others.map(seen)]));
    this.whole = this.scene = { ...path, ...maps, lowest, state, unit, runs: among.length };
    this.#drawSoon();
    this.#say();
    return this.whole;
  }

  /**
   * Show so many checkpoints from the first, in the room of all.
   * @param {number} count
   */
  grow(count) {
    this.scene = count < this.whole.taken.length ? grownTo(this.whole, count) : this.whole;
    this.views.isPathOld = true;
    this.#drawSoon();
    this.#say();
  }

  /** What is said changes with every frame: it neither moves what stands below nor is read out. */
  hold() {
    this.measures.style.height = `${this.measures.getBoundingClientRect().height}px`;
    this.omega.ariaLive = "off";
  }

  release() {
    this.measures.style.height = "";
    this.omega.ariaLive = "polite";
  }

  /** @param {number} width */
  #fit(width) {
    if (width === this.width) return;
    this.width = width;
    this.#drawAll();
  }

  #drawSoon() {
    if (this.width) this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.views.draw(this.scene, this.marked);
    });
  }

  #drawAll() {
    if (!this.width) return;
    this.views.isPathOld = true;
    this.views.draw(this.scene, this.marked);
  }

  /**
   * A file may be put on any ground.
   * @param {() => void} take
   */
  #onWhite(take) {
    this.root.style.color = "#000";
    this.#drawAll();
    take();
    this.root.style.color = "";
    this.#drawAll();
  }

  #say() {
    const { scene, omega } = this;
    show(this.controls, scene);
    // Written again it would be read out again, at every cell that is looked at.
    if (omega.dataset.value !== String(scene.seen.omega)) {
      omega.dataset.value = String(scene.seen.omega);
      omega.textContent = `ω ${scene.kernel.sample ? "≈" : "="} ${scene.seen.omega.toFixed(3)}`;
    }
    this.facts.textContent = factsOf(scene);
    this.views.say(scene);
    this.table.fill();
    this.said.textContent = this.marked
      ? pairInWords(scene, ...this.marked)
      : "Point at a cell, or drag along the diagonal to look from there. By keys: arrows, Enter.";
  }

  /** @param {string} ending */
  #named(ending) {
    const { kernel, state } = this.whole;
    const seen = state.origin < 0 ? "" : `from ${from(this.whole)}`;
    const words = `${kernel.label} ${state.layers} ${seen}`.match(/[\p{L}\p{N}.]+/gu) ?? ["map"];
    return `${words.join("-").replace(/^\.+/, "")}.${ending}`;
  }

  /** @returns {(string|number)[][]} */
  #table() {
    const { kept, cosine } = this.scene.seen, { steps } = this.scene.kernel;
    return [["", ...kept.map((t) => steps[t])], ...kept.map((t, i) => [steps[t], ...cosine.slice(i * kept.length, (i + 1) * kept.length)])];
  }

  #copyLink() {
    const isOpened = this.state.run >= this.given;
    const address = addressOf(this.name, isOpened ? { ...this.asked, run: 0, layers: "" } : this.asked);
    history.replaceState(null, "", address);
    const aside = isOpened ? ", without your file" : "";
    const say = (/** @type {string} */ words) => () => (this.link.textContent = words + aside);
    (navigator.clipboard?.writeText(address.href) ?? Promise.reject()).then(say("link copied"), say("the address has it"));
  }
}
