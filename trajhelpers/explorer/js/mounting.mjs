/** What Python put into a page, taken up by a script. */

import { html } from "./elements.mjs";

/**
 * Take up every part of a kind that no script has taken up yet. What stood there is kept, for
 * print.
 * @param {string} kind
 * @param {(data: any) => HTMLElement} made
 */
export function mountEach(kind, made) {
  /** @type {NodeListOf<HTMLElement>} */
  const roots = document.querySelectorAll(`.trajhelpers-${kind}:not([data-mounted])`);
  for (const root of roots) {
    const data = root.querySelector('script[type="application/json"]');
    root.dataset.mounted = "";
    // A notebook keeps the arrow keys for itself otherwise.
    root.dataset.lmSuppressShortcuts = "true";
    root.addEventListener("keydown", (event) => event.stopPropagation());
    const still = html("div", { className: "still" }, ...root.childNodes);
    root.replaceChildren(still, made(JSON.parse(data?.textContent ?? "")));
  }
}
