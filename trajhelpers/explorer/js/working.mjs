/** The worker's end: files come, how far it is goes, then the sums, or what is wrong. */

import { runIn } from "./gram.mjs";

const EVERY = 100; // milliseconds

export function work() {
  let last = -Infinity;
  const told = (/** @type {import("./gram.mjs").Said} */ said) => {
    const now = performance.now();
    if (now - last < EVERY && said.done < said.of) return;
    last = now;
    self.postMessage({ said });
  };
  self.onmessage = async ({ data }) => {
    try {
      const run = await runIn(data, told);
      self.postMessage({ run }, { transfer: run.groups.map(({ products }) => products.buffer) });
    } catch (error) {
      self.postMessage({ error: error instanceof Error ? error.message : String(error) });
    }
  };
}
