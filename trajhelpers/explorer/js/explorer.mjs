/** The explorer: a kernel's map, path, angles and lengths as linked views that a reader moves. */

import { button, controlsFor, html, offer, show } from "./controls.mjs";
import { kernelIn, kernelOf } from "./files.mjs";
import { listen } from "./listening.mjs";
import { asTable, picture, save } from "./saving.mjs";
import { chosen, measured, seenFrom } from "./scene.mjs";
import { STARTING, addressOf, fitted, stateInAddress } from "./state.mjs";
import { Views } from "./views.mjs";
import { factsOf, pairInWords } from "./words.mjs";

let count = 0;

/** All explorers of a document that are still pictures. */
export function mountAll() {
  for (const root of document.querySelectorAll(".trajhelpers-explorer:not([data-mounted])")) {
    const data = root.querySelector('script[type="application/json"]');
    root.dataset.mounted = "";
    new Explorer(root, JSON.parse(data.textContent));
  }
}

export class Explorer {
  /**
   * @param {HTMLElement} root  what it replaces the content of
   * @param {{kernels: object[], unit: string, state?: object}} data  of trajhelpers/explorer
   */
  constructor(root, { kernels, unit, state = {} }) {
    this.root = root;
    this.unit = unit;
    this.kernels = kernels.map(kernelOf);
    this.name = `explorer-${++count}`;
    this.state = { ...STARTING, ...state, ...stateInAddress(this.name) };
    this.marked = null;
    this.controls = controlsFor((changes) => this.set(changes));
    this.views = new Views();
    this.#build();
    listen(this);
    this.#choose();
    new ResizeObserver(() => this.#drawAll()).observe(root);
    const themed = new MutationObserver(() => this.#drawAll());
    themed.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "data-mode"] });
  }

  #build() {
    this.omega = html("output");
    this.omega.dataset.measure = "omega";
    this.facts = html("span");
    this.said = html("p", { className: "said" });
    this.said.setAttribute("aria-live", "polite");
    const file = html("input", { type: "file", accept: ".npz", hidden: true, onchange: () => this.open(file.files[0]) });
    this.link = button("link to this view", () => this.#copyLink());
    this.root.replaceChildren(
      html("div", { className: "controls" }, ...Object.values(this.controls).map(({ label }) => label)),
      html("p", { className: "measures" }, this.omega, this.facts),
      this.views.element,
      this.said,
      html("div", { className: "controls" }, this.link,
        button("picture (PNG)", () => picture(this.views.map, this.#named("png"))),
        button("curves (SVG)", () => save(this.views.angles, this.#named("svg"))),
        button("numbers (CSV)", () => asTable(this.#table(), this.#named("csv"))),
        button("open a kernel (.npz)", () => file.click()), file),
    );
  }

  /** Change the state: `run`, `layers`, `origin` (−1 for O), `stride`, `first`, `last`, `walk`, `fixed`. */
  set(changes) {
    Object.assign(this.state, changes);
    const isOtherPath = Object.keys(changes).some((name) => !["origin", "fixed"].includes(name));
    if (isOtherPath) this.#choose();
    else this.#see();
  }

  /** Look at two checkpoints, or at none. */
  mark(pair) {
    if (String(pair) === String(this.marked)) return;
    this.marked = pair;
    this.#drawSoon();
    this.#say();
  }

  /** Add the kernel of a file, and show it. */
  async open(file) {
    if (!file) return;
    try {
      this.kernels.push(await kernelIn(await file.arrayBuffer(), file.name));
      this.set({ ...STARTING, run: this.kernels.length - 1 });
    } catch (error) {
      this.said.textContent = `${file.name}: ${error.message}`;
    }
  }

  /** The run, its layers, its checkpoints: all but where they are seen from. */
  #choose() {
    if (!this.kernels[this.state.run]) this.state.run = 0;
    const whole = this.kernels[this.state.run];
    this.state = fitted(this.state, whole);
    offer(this.controls, this.kernels, this.state);
    const path = chosen(whole, this.state);
    this.path = { ...path, ...measured(path) };
    this.views.isPathOld = true;
    this.#see();
  }

  /** The map, from where it is seen. */
  #see() {
    const { path, state, unit } = this;
    this.scene = { ...path, ...seenFrom(path, state.origin), state, unit };
    this.#drawSoon();
    this.#say();
  }

  #drawSoon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.views.draw(this.scene, this.marked);
    });
  }

  #drawAll() {
    this.views.isPathOld = true;
    this.views.draw(this.scene, this.marked);
  }

  #say() {
    const { scene, omega } = this;
    show(this.controls, scene);
    omega.dataset.value = scene.seen.omega;
    omega.textContent = `ω ${scene.kernel.sample ? "≈" : "="} ${scene.seen.omega.toFixed(3)}`;
    this.facts.textContent = factsOf(scene);
    this.views.say(scene);
    this.said.textContent = this.marked
      ? pairInWords(scene, ...this.marked)
      : "Point at a cell, or drag along the diagonal to look from there.";
  }

  #named(ending) {
    return `${this.scene.kernel.label || "map"}.${ending}`.replace(/[^\w.-]+/g, "-");
  }

  #table() {
    const { kept, cosine } = this.scene.seen, { steps } = this.scene.kernel;
    return [["", ...kept.map((t) => steps[t])], ...kept.map((t, i) => [steps[t], ...cosine.slice(i * kept.length, (i + 1) * kept.length)])];
  }

  #copyLink() {
    const address = addressOf(this.name, this.state);
    history.replaceState(null, "", address);
    const said = () => (this.link.textContent = "the address has it");
    (navigator.clipboard?.writeText(address.href) ?? Promise.reject()).then(() => (this.link.textContent = "link copied"), said);
  }
}
