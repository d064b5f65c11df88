/** What a reader takes away: a picture of the map, the curves, the numbers. */

function download(url, name) {
  const link = Object.assign(document.createElement("a"), { href: url, download: name });
  link.click();
}

/** A file of text, or of what a blob is made of. */
export function saveFile(content, type, name) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  download(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export function picture(canvas, name) {
  download(canvas.toDataURL("image/png"), name);
}

/** Curves with the look that they have here, since a file has no style sheet beside it. */
export function save(svg, name) {
  const copy = svg.cloneNode(true), { width, height } = svg.viewBox.baseVal;
  svg.querySelectorAll("*").forEach((element, i) => {
    const style = getComputedStyle(element), other = copy.querySelectorAll("*")[i];
    for (const property of ["stroke", "stroke-width", "stroke-dasharray", "fill", "opacity", "font-size", "font-family"])
      other.style.setProperty(property, style.getPropertyValue(property));
  });
  for (const [attribute, value] of Object.entries({ xmlns: "http://www.w3.org/2000/svg", width, height })) copy.setAttribute(attribute, value);
  saveFile(copy.outerHTML, "image/svg+xml", name);
}

export function asTable(rows, name) {
  const quoted = (value) => (typeof value === "string" && /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  saveFile(rows.map((row) => row.map(quoted).join(",")).join("\n") + "\n", "text/csv", name);
}
