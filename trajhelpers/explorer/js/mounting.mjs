/** What Python put into a page, taken up by a script. */

import { html } from "./elements.mjs";

/**
 * One at a time: those that come near the screen, and the others while nothing else happens. All
 * at once, they would keep a phone from scrolling.
 * @template {Element} Part
 * @param {Iterable<Part>} parts
 * @param {(part: Part) => void} take
 */
export function eachInTurn(parts, take) {
  /** @type {Set<Element>} */
  const waiting = new Set(parts);
  const takeUp = (/** @type {Element} */ part) => {
    if (waiting.delete(part)) take(/** @type {Part} */ (part));
  };
  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) takeUp(target);
  }, { rootMargin: "50%" });
  for (const part of waiting) near.observe(part);
  // Safari has no idle callbacks.
  const later = window.requestIdleCallback ?? ((next) => setTimeout(next, 50));
  const next = () => {
    const [part] = waiting;
    if (!part) return near.disconnect();
    takeUp(part);
    later(next, { timeout: 2000 });
  };
  later(next, { timeout: 2000 });
}

/**
 * Take up every part of a kind that no script has taken up yet. What stood there is kept, for
 * print.
 * @param {string} kind
 * @param {(data: any) => HTMLElement} made
 */
export function mountEach(kind, made) {
  /** @type {NodeListOf<HTMLElement>} */
  const roots = document.querySelectorAll(`.trajhelpers-${kind}:not([data-mounted])`);
  for (const root of roots) root.dataset.mounted = "";
  eachInTurn(roots, (root) => {
    const data = root.querySelector('script[type="application/json"]');
    // A notebook keeps the arrow keys for itself otherwise.
    root.dataset.lmSuppressShortcuts = "true";
    root.addEventListener("keydown", (event) => event.stopPropagation());
    const still = html("div", { className: "still" }, ...root.childNodes);
    root.replaceChildren(still, made(JSON.parse(data?.textContent ?? "")));
  });
}
