/** Elements of a page, and what Python put there for a script to take up. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with properties and children; names with a hyphen are attributes.
 * @param {string} tag
 * @param {Record<string, any>} properties
 * @param {...(Node|string)} children
 */
export function html(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/**
 * An element of SVG with attributes and children.
 * @param {string} tag
 * @param {Record<string, any>} attributes
 * @param {...(Node|string)} children
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * Take up every part of a kind that no script has taken up yet. What stood there is kept, for
 * print.
 * @param {string} kind
 * @param {(data: any) => Node} made
 */
export function mountEach(kind, made) {
  for (const root of document.querySelectorAll(`.trajhelpers-${kind}:not([data-mounted])`)) {
    const data = root.querySelector('script[type="application/json"]');
    root.dataset.mounted = "";
    // A notebook keeps the arrow keys for itself otherwise.
    root.dataset.lmSuppressShortcuts = "true";
    root.addEventListener("keydown", (event) => event.stopPropagation());
    const still = html("div", { className: "still" });
    still.append(...root.childNodes);
    root.append(still);
    root.append(made(JSON.parse(data.textContent)));
  }
}
