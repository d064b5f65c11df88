/** Pointer and keys over the views: what they look at, and where they look from. */

import { O } from "./kernel.mjs";

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** @param {import("./explorer.mjs").Explorer} explorer */
export function listen(explorer) {
  const { root, views } = explorer;
  listenToMap(explorer);
  views.path.onpointermove = (event) => {
    const t = views.drawnPath?.nearest(...at(event)) ?? null;
    explorer.mark(t === null ? null : [t, t]);
  };
  views.path.onclick = (event) => {
    const t = views.drawnPath?.nearest(...at(event)) ?? null;
    if (t !== null) explorer.set({ origin: t === explorer.state.origin ? O : t });
  };
  views.angles.onpointermove = (event) => {
    const t = explorer.scene.taken[views.placeAt?.(at(event)[0])];
    if (t !== undefined) explorer.mark([t, t]);
  };
  for (const view of [views.map, views.path, views.angles]) view.onpointerleave = () => explorer.mark(null);
  // A notebook keeps the arrow keys for itself otherwise.
  root.dataset.lmSuppressShortcuts = "true";
  root.addEventListener("keydown", (event) => event.stopPropagation());
  root.ondragover = (event) => event.preventDefault();
  root.ondrop = (event) => {
    event.preventDefault();
    explorer.open(event.dataTransfer.files[0]);
  };
}

/** Over the map a cell is looked at; a drag along the diagonal moves the origin. */
function listenToMap(explorer) {
  const { map } = explorer.views, cellUnder = (event) => explorer.views.cellAt?.(...at(event)) ?? null;
  let isDragged = false;
  const moveOrigin = (cell) => cell && explorer.set({ origin: cell[0] });
  map.onpointerdown = (event) => {
    const cell = cellUnder(event), { state, scene } = explorer;
    if (!cell || Math.abs(cell[0] - cell[1]) > Math.max(state.stride, scene.taken.length * 0.04)) return;
    isDragged = true;
    map.setPointerCapture(event.pointerId);
    moveOrigin(cell);
  };
  map.onpointerup = map.onpointercancel = () => (isDragged = false);
  map.onpointermove = (event) => (isDragged ? moveOrigin(cellUnder(event)) : explorer.mark(cellUnder(event)));
  map.onkeydown = (event) => press(explorer, event);
}

function press(explorer, event) {
  const { marked } = explorer, { kept } = explorer.scene.seen;
  if (event.key === "Escape") explorer.mark(null);
  if (event.key === "Enter" && marked) explorer.set({ origin: marked[0] });
  const move = MOVES[event.key];
  if (!move) return;
  event.preventDefault();
  if (!marked) return explorer.mark([kept[0], kept[0]]);
  const moved = (t, by) => kept[Math.min(kept.length - 1, Math.max(0, Math.max(0, kept.indexOf(t)) + by))];
  explorer.mark(marked.map((t, i) => moved(t, move[i])));
}

/** Where in a view. */
function at(event) {
  const place = event.currentTarget.getBoundingClientRect();
  return [event.clientX - place.left, event.clientY - place.top];
}
