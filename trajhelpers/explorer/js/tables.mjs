/** What the views show, as numbers a checkpoint: for who does not see them. */

import { written } from "./drawing.mjs";
import { html } from "./elements.mjs";
import { ANGLES, LENGTHS } from "./views.mjs";
import { from } from "./words.mjs";

/**
 * A table that is filled while it is open.
 * @param {() => import("./scene.mjs").Scene} scene  what is shown now
 * @returns {{element: HTMLDetailsElement, fill: () => void}}
 */
export function tableOf(scene) {
  const table = html("table"), element = html("details", {}, html("summary", {}, "numbers as a table"),
    html("div", { className: "table", tabIndex: 0, role: "region", ariaLabel: "numbers as a table" }, table));
  const fill = () => {
    if (element.open) table.replaceChildren(...rowsOf(scene()));
  };
  element.ontoggle = fill;
  return { element, fill };
}

/** @param {import("./scene.mjs").Scene} scene */
function rowsOf(scene) {
  const { kernel, taken, seen, bends, lengths, unit } = scene, { kept, cosine } = seen, k = kept.length;
  const columns = [
    ...ANGLES.map(([name, label, first]) => ({ label: `${label} (°)`, values: bends[name], first })),
    ...LENGTHS.map(([name, label, first]) => ({ label, values: lengths[name], first })),
  ];
  const heads = [unit, `cosine with the end, from ${from(scene)}`, ...columns.map(({ label }) => label)];
  const head = html("tr", {}, ...heads.map((textContent) => html("th", { scope: "col", textContent })));
  const rows = taken.map((t, i) => {
    const place = kept.indexOf(t), numbers = [place < 0 ? NaN : cosine[place * k + k - 1], ...columns.map(({ values, first }) => values[i - first])];
    return html("tr", {}, html("th", { scope: "row", textContent: String(kernel.steps[t]) }),
      ...numbers.map((x) => html("td", { textContent: Number.isFinite(x) ? written(x) : "–" })));
  });
  return [head, ...rows];
}
