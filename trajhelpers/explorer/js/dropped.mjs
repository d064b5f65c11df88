/** What a reader gives to the page, files and folders, as files with their paths. */

/** @typedef {import("./safetensors.mjs").Entry} Entry */

/**
 * Of an `<input type=file>`, of files or of a folder.
 * @param {Iterable<File>} files
 * @returns {Entry[]}
 */
export const chosenFiles = (files) => Array.from(files, (file) => ({ path: file.webkitRelativePath || file.name, file }));

/**
 * Of what was dropped. To be called in the event's own turn: after it, there is nothing left.
 * @param {DataTransfer} transfer
 * @returns {Promise<Entry[]>}
 */
export async function droppedFiles(transfer) {
  const items = Array.from(transfer.items).filter(({ kind }) => kind === "file");
  const given = items.map((item) => ({ entry: item.webkitGetAsEntry(), file: item.getAsFile() }));
  const found = await Promise.all(given.map(({ entry, file }) =>
    entry?.isDirectory ? within(entry) : [{ path: file.name, file }]));
  return found.flat();
}

async function within(folder) {
  const reader = folder.createReader(), found = [];
  // A hundred at a time, until there are none.
  for (let some; (some = await new Promise((done, failed) => reader.readEntries(done, failed))).length;)
    for (const entry of some) found.push(...(entry.isDirectory ? await within(entry) : [await fileOf(entry)]));
  return found;
}

const fileOf = (entry) =>
  new Promise((done, failed) => entry.file((file) => done({ path: entry.fullPath.slice(1), file }), failed));
