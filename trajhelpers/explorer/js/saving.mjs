/** What a reader takes away: a picture of the map, the curves, the numbers. */

import { html, svg } from "./elements.mjs";
import { contextOf } from "./maps.mjs";

/** @param {string} url @param {string} name */
function download(url, name) {
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
}

/** @param {string|Blob} content @param {string} type @param {string} name */
export function saveFile(content, type, name) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  download(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** @param {HTMLCanvasElement} canvas @param {string} name  of the file */
export function picture(canvas, name) {
  const { width, height } = canvas, sheet = html("canvas", { width, height }), c = contextOf(sheet);
  c.fillStyle = "#fff";
  c.fillRect(0, 0, width, height);
  c.drawImage(canvas, 0, 0);
  download(sheet.toDataURL("image/png"), name);
}

/**
 * Curves with the look that they have here, since a file has no style sheet beside it.
 * @param {SVGSVGElement} drawing
 * @param {string} name
 */
export function save(drawing, name) {
  const copy = /** @type {SVGSVGElement} */ (drawing.cloneNode(true)), { width, height } = drawing.viewBox.baseVal;
  /** @type {NodeListOf<SVGElement>} */
  const copies = copy.querySelectorAll("*");
  drawing.querySelectorAll("*").forEach((element, i) => {
    const style = getComputedStyle(element);
    for (const property of ["stroke", "stroke-width", "stroke-dasharray", "fill", "opacity", "font-size", "font-family"])
      copies[i].style.setProperty(property, style.getPropertyValue(property));
  });
  copy.prepend(svg("rect", { width, height, fill: "#fff" }));
  for (const [attribute, value] of Object.entries({ xmlns: "http://www.w3.org/2000/svg", width, height })) copy.setAttribute(attribute, String(value));
  saveFile(copy.outerHTML, "image/svg+xml", name);
}

/** @param {(string|number)[][]} rows @param {string} name */
export function asTable(rows, name) {
  /** @param {string|number} value */
  const quoted = (value) => (typeof value === "string" && /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  saveFile(rows.map((row) => row.map(quoted).join(",")).join("\n") + "\n", "text/csv", name);
}
