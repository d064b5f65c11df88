/** The maps of many runs: drawn when they come into view, reached by one Tab and the arrows. */

import { html } from "./elements.mjs";
import { O } from "./kernel.mjs";
import { drawSmall, mark } from "./tiles.mjs";

/** @typedef {import("./tiles.mjs").Run} Run */

export const SLICE = 12; // milliseconds that a page may be kept busy at a time

export class Grid {
  /** @param {(run: Run) => void} choose */
  constructor(choose) {
    this.choose = choose;
    /** @type {Run[]} */
    this.shown = [];
    /** @type {"O"|"start"} */
    this.from = "O";
    this.lowest = 0; // cosine, of the lightest colour
    /** @type {Map<Element, Run>} */
    this.runOf = new Map();
    /** @type {Set<Element>} */
    this.undrawn = new Set();
    /** @type {number|null} */
    this.frame = null;
    this.list = html("ul", { className: "maps" });
    this.list.setAttribute("role", "list");
    this.list.setAttribute("aria-label", "Maps of the runs. Arrow keys move, Enter chooses");
    this.list.onkeydown = (event) => this.#move(event);
    this.list.onclick = ({ target }) => this.#press(/** @type {Element} */ (target).closest("button"));
    const near = { root: this.list, rootMargin: "300px" };
    this.seen = new IntersectionObserver((entries) => this.#draw(entries), near);
  }

  /**
   * These runs, in this order.
   * @param {Run[]} runs
   * @param {"O"|"start"} from
   * @param {number} lowest
   */
  show(runs, from, lowest) {
    Object.assign(this, { shown: runs, from, lowest });
    this.seen.disconnect();
    this.undrawn = new Set();
    this.runOf = new Map(runs.map((run) => [run.tile.item, run]));
    for (const { tile } of runs) tile.item.classList.remove("drawn");
    this.list.replaceChildren(...runs.map(({ tile }) => tile.item));
    for (const { tile } of runs) this.seen.observe(tile.item);
  }

  /**
   * Those two as A and B, of all that there are.
   * @param {Run[]} pair
   * @param {Run[]} runs
   */
  mark([a, b], runs) {
    for (const { tile } of runs) mark(tile, "");
    mark(b.tile, "B");
    mark(a.tile, "A");
    this.#reach(this.list.querySelector("button[tabindex='0']") ?? this.list.querySelector("button"));
  }

  /** @param {HTMLButtonElement|null} button */
  #press(button) {
    const run = button && this.shown.find(({ tile }) => tile.button === button);
    if (!run) return;
    this.#reach(button);
    this.choose(run);
  }

  /**
   * One of the maps is reached by Tab, the others from there by arrows.
   * @param {HTMLButtonElement|null} button
   */
  #reach(button) {
    /** @type {NodeListOf<HTMLButtonElement>} */
    const reached = this.list.querySelectorAll("button[tabindex='0']");
    for (const other of reached) other.tabIndex = -1;
    if (button) button.tabIndex = 0;
  }

  /** @param {KeyboardEvent} event */
  #move(event) {
    const buttons = this.shown.map(({ tile }) => tile.button);
    const at = buttons.findIndex((button) => button === document.activeElement), last = buttons.length - 1;
    const columns = getComputedStyle(this.list).gridTemplateColumns.split(" ").length;
    const ends = { Home: -at, End: last - at };
    /** @type {Record<string, number|undefined>} */
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, ...ends };
    const step = steps[event.key];
    if (step === undefined || at < 0) return;
    event.preventDefault();
    const to = buttons[Math.min(last, Math.max(0, at + step))];
    this.#reach(to);
    to.focus();
  }

  /**
   * Those maps that come into view, a slice of them at a time.
   * @param {IntersectionObserverEntry[]} entries
   */
  #draw(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.undrawn.add(target);
      else this.undrawn.delete(target);
    }
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      const until = performance.now() + SLICE;
      for (const item of this.undrawn) {
        this.seen.unobserve(item);
        this.undrawn.delete(item);
        const run = this.runOf.get(item);
        if (!run) continue;
        drawSmall(run.tile.canvas, run.kernel, this.from === "O" ? O : 0, this.lowest);
        item.classList.add("drawn");
        if (performance.now() > until) break;
      }
      if (this.undrawn.size) this.#draw([]);
    });
  }
}
