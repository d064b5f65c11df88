/** A run that grows from its first checkpoints to its end, at a steady rate. */

import { button } from "./controls.mjs";

const SECONDS = 6; // for a whole run, but not faster than a frame nor slower than five a second
const FEWEST = 3;

export class Player {
  /** @param {import("./explorer.mjs").Explorer} explorer */
  constructor(explorer) {
    this.explorer = explorer;
    this.button = button("play", () => this.#press());
    this.button.classList.add("play");
    this.still = window.matchMedia("(prefers-reduced-motion: reduce)");
    this.still.addEventListener("change", () => this.stop());
    this.frame = 0;
    this.stop();
  }

  get #all() {
    return this.explorer.whole.taken.length;
  }

  /** How many are shown, or would be next. */
  get #count() {
    const { length } = this.explorer.scene.taken;
    return length < this.#all ? length : FEWEST - 1;
  }

  #press() {
    if (this.frame) this.stop();
    else if (this.still.matches) this.explorer.grow(Math.min(this.#all, this.#count + Math.ceil(this.#all / 10)));
    else this.play();
  }

  /** From where it was left, or from the start. */
  play() {
    const { explorer } = this, all = this.#all;
    const period = Math.min(200, Math.max(40, (1000 * SECONDS) / all)), begun = performance.now() - this.#count * period;
    this.button.textContent = "pause";
    explorer.hold();
    const step = (/** @type {number} */ now) => {
      const reached = Math.min(all, Math.max(FEWEST, Math.floor((now - begun) / period)));
      if (reached !== explorer.scene.taken.length) explorer.grow(reached);
      if (reached < all) this.frame = requestAnimationFrame(step);
      else this.stop();
    };
    this.frame = requestAnimationFrame(step);
  }

  /** What is shown stays. */
  stop() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    // Who wants no motion moves it by hand.
    this.button.textContent = this.still.matches ? "grow by a tenth" : "play";
    this.explorer.release();
  }

  /** Once, when it first comes into view; never for who wants no motion. */
  playInView() {
    const watched = new IntersectionObserver((entries) => {
      if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
      watched.disconnect();
      if (!this.still.matches) this.play();
    }, { threshold: 0.5 });
    watched.observe(this.explorer.views.map);
  }
}
