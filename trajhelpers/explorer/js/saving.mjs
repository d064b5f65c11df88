/** What a reader takes away: a picture of the map, the curves, the numbers. */

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
  download(canvas.toDataURL("image/png"), name);
}

/**
 * Curves with the look that they have here, since a file has no style sheet beside it.
 * @param {SVGSVGElement} svg
 * @param {string} name
 */
export function save(svg, name) {
  const copy = /** @type {SVGSVGElement} */ (svg.cloneNode(true)), { width, height } = svg.viewBox.baseVal;
  /** @type {NodeListOf<SVGElement>} */
  const copies = copy.querySelectorAll("*");
  svg.querySelectorAll("*").forEach((element, i) => {
    const style = getComputedStyle(element);
    for (const property of ["stroke", "stroke-width", "stroke-dasharray", "fill", "opacity", "font-size", "font-family"])
      copies[i].style.setProperty(property, style.getPropertyValue(property));
  });
  for (const [attribute, value] of Object.entries({ xmlns: "http://www.w3.org/2000/svg", width, height })) copy.setAttribute(attribute, String(value));
  saveFile(copy.outerHTML, "image/svg+xml", name);
}

/** @param {(string|number)[][]} rows @param {string} name */
export function asTable(rows, name) {
  /** @param {string|number} value */
  const quoted = (value) => (typeof value === "string" && /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  saveFile(rows.map((row) => row.map(quoted).join(",")).join("\n") + "\n", "text/csv", name);
}
