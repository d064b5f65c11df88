/** What the page's modules make of folders, as JSON on standard output, for test_explorer_folder.py. */

import { openAsBlob, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { runIn } from "../trajhelpers/explorer/js/gram.mjs";

/** Files below a folder by their paths, as a browser gives them; `read` hears how much is read at once. */
async function entriesOf(folder, within, read) {
  const found = [];
  for (const name of readdirSync(folder).sort()) {
    const path = `${within}/${name}`, place = join(folder, name);
    if (statSync(place).isDirectory()) found.push(...(await entriesOf(place, path, read)));
    else {
      const blob = await openAsBlob(place);
      const slice = (begin, end) => {
        read.push(end - begin);
        return blob.slice(begin, end);
      };
      found.push({ path, file: { size: blob.size, slice } });
    }
  }
  return found;
}

async function opened(folder) {
  const read = [], told = [];
  try {
    const run = await runIn(await entriesOf(folder, "run", read), (said) => told.push(said));
    const groups = run.groups.map((group) => ({ ...group, products: Array.from(group.products) }));
    return { ...run, groups, largest: Math.max(...read), last: told.at(-1) };
  } catch (error) {
    return { error: error.message };
  }
}

const found = [];
for (const folder of process.argv.slice(2)) found.push(await opened(folder));
console.log(JSON.stringify(found));
