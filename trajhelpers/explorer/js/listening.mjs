/** Pointer and keys over the views: what they look at, and where they look from. */

import { O } from "./kernel.mjs";

/**
 * @typedef {import("./explorer.mjs").Explorer} Explorer
 * @typedef {import("./maps.mjs").Pair} Pair
 */

/** @type {Record<string, [down: number, right: number]>} */
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

// Of the range: how far beside the diagonal a hand may be that takes hold of it. Fingers are wide.
const BESIDE = 0.04, BESIDE_BY_TOUCH = 0.08;

/** @param {Explorer} explorer */
export function listen(explorer) {
  const { root, views } = explorer;
  listenToMap(explorer);
  const nearest = (/** @type {MouseEvent} */ event) => views.drawnPath?.nearest(...at(event)) ?? null;
  onPoint(views.path, (event) => {
    const t = nearest(event);
    explorer.mark(t === null ? null : [t, t]);
  });
  views.path.onclick = (event) => {
    const t = nearest(event);
    if (t !== null) explorer.set({ origin: t === explorer.state.origin ? O : t });
  };
  onPoint(views.angles, (event) => {
    const t = explorer.scene.taken[views.placeAt?.(at(event)[0]) ?? -1];
    if (t !== undefined) explorer.mark([t, t]);
  });
  for (const view of [views.map, views.path, views.angles])
    view.onpointerleave = (event) => {
      // A finger that is lifted has left, too, and then looks at what it touched.
      if (event.pointerType !== "touch") explorer.mark(null);
    };
  // A notebook keeps the arrow keys for itself otherwise.
  root.dataset.lmSuppressShortcuts = "true";
  root.addEventListener("keydown", (event) => event.stopPropagation());
  explorer.opening.listen(root);
}

/**
 * Where a mouse is, and where a finger comes down.
 * @param {HTMLElement|SVGElement} view
 * @param {(event: PointerEvent) => void} look
 */
function onPoint(view, look) {
  view.onpointerdown = view.onpointermove = look;
}

/**
 * Over the map a cell is looked at; a drag along the diagonal moves the origin.
 * @param {Explorer} explorer
 */
function listenToMap(explorer) {
  const { map } = explorer.views;
  let isDragged = false;
  const cellAt = (/** @type {[x: number, y: number]} */ place) => explorer.views.cellAt?.(...place) ?? null;
  /** @param {Pair} cell @param {number} beside */
  const isOnDiagonal = (cell, beside) => {
    const { state, taken } = explorer.scene, range = taken[taken.length - 1] - taken[0];
    return cell !== null && Math.abs(cell[0] - cell[1]) <= Math.max(state.stride, range * beside);
  };
  /** @param {Pair} cell */
  const moveOrigin = (cell) => {
    explorer.mark(null);
    if (cell) explorer.set({ origin: cell[0] });
  };
  map.onpointerdown = (event) => {
    const cell = cellAt(at(event)), beside = event.pointerType === "touch" ? BESIDE_BY_TOUCH : BESIDE;
    if (!isOnDiagonal(cell, beside)) return explorer.mark(cell);
    isDragged = true;
    map.setPointerCapture(event.pointerId);
    moveOrigin(cell);
  };
  // Elsewhere a finger scrolls the page.
  map.addEventListener("touchstart", (event) => {
    const box = map.getBoundingClientRect(), { clientX, clientY } = event.touches[0];
    if (isOnDiagonal(cellAt([clientX - box.left, clientY - box.top]), BESIDE_BY_TOUCH)) event.preventDefault();
  }, { passive: false });
  map.onpointerup = map.onpointercancel = () => (isDragged = false);
  map.onpointermove = (event) => (isDragged ? moveOrigin(cellAt(at(event))) : explorer.mark(cellAt(at(event))));
  map.onkeydown = (event) => press(explorer, event);
}

/** @param {Explorer} explorer @param {KeyboardEvent} event */
function press(explorer, event) {
  const { marked } = explorer, { kept } = explorer.scene.seen;
  if (event.key === "Escape") explorer.mark(null);
  if (event.key === "Enter" && marked) explorer.set({ origin: marked[0] });
  const move = MOVES[event.key];
  if (!move || !kept.length) return;
  event.preventDefault();
  if (!marked) return explorer.mark([kept[0], kept[0]]);
  /** @param {number} t @param {number} by */
  const moved = (t, by) => {
    // The origin has no row of its own, but neighbours.
    const after = kept.find((k) => k > t) ?? kept[kept.length - 1];
    if (by < 0) return kept.findLast((k) => k < t) ?? kept[0];
    return by > 0 || !kept.includes(t) ? after : t;
  };
  explorer.mark([moved(marked[0], move[0]), moved(marked[1], move[1])]);
}

/**
 * Where in a view.
 * @param {MouseEvent} event
 * @returns {[x: number, y: number]}
 */
function at(event) {
  const place = /** @type {Element} */ (event.currentTarget).getBoundingClientRect();
  return [event.clientX - place.left, event.clientY - place.top];
}
