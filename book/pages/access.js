// What is wider than its box is scrolled by keyboard too: the box can be reached, and says what it
// is. Which boxes are too narrow depends on the screen.
const NAMES = [
  ["div.math", "formula, scrolls sideways"],
  [".cell_output, .cell_output .output, .text_html", "output, scrolls sideways"],
  [".highlight pre", "code, scrolls sideways"],
  [".table-wrapper, .pst-scrollable-table-container", "table, scrolls sideways"],
];

const isLaidOut = (box) => box.checkVisibility?.({ contentVisibilityAuto: true }) ?? true;

function reach(box, name) {
  // Far sections have no widths until one comes near: till then each may scroll.
  const scrolls = !isLaidOut(box) || box.scrollWidth > box.clientWidth + 1;
  if (scrolls === box.hasAttribute("data-scrolls")) return;
  box.toggleAttribute("data-scrolls", scrolls);
  for (const [attribute, value] of [["tabindex", "0"], ["role", "group"], ["aria-label", name]]) {
    if (scrolls) box.setAttribute(attribute, value);
    else box.removeAttribute(attribute);
  }
}

const watch = new ResizeObserver((entries) => entries.forEach(({ target }) => reach(target, target.dataset.box)));
for (const [selector, name] of NAMES) {
  for (const box of document.querySelectorAll(`article :is(${selector})`)) {
    box.dataset.box = name;
    watch.observe(box);
    if (!isLaidOut(box)) reach(box, name);
  }
}

// Paper is white, whatever the theme.
let theme = "";
addEventListener("beforeprint", () => {
  theme = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
});
addEventListener("afterprint", () => (document.documentElement.dataset.theme = theme));
