/** What a reader gives to the page, files and folders, as files with their paths. */

/** @typedef {import("./safetensors.mjs").Entry} Entry */

/**
 * Of an `<input type=file>`, of files or of a folder.
 * @param {Iterable<File>} files
 * @returns {Entry[]}
 */
export const chosenFiles = (files) =>
  Array.from(files, (file) => ({ path: file.webkitRelativePath || file.name, file }));

/**
 * Of what was dropped. To be called in the event's own turn: after it, there is nothing left.
 * @param {DataTransfer} transfer
 * @returns {Promise<Entry[]>}
 */
export async function droppedFiles(transfer) {
  const items = Array.from(transfer.items).filter(({ kind }) => kind === "file");
  // Chromium gives entries of a page from a disk no content, and other browsers have no handles.
  const given = items.map((item) =>
    ({ file: item.getAsFile(), handle: item.getAsFileSystemHandle?.(), entry: item.webkitGetAsEntry() }));
  try {
    const found = await Promise.all(given.map(async ({ file, handle, entry }) => {
      const place = await handle;
      if (place?.kind === "directory") return inHandle(place, place.name);
      return entry?.isDirectory ? inEntry(entry) : [{ path: file.name, file }];
    }));
    return found.flat();
  } catch {
    throw new Error("this browser does not let a page read a folder that is dropped here; open it with the button");
  }
}

async function inHandle(folder, path) {
  const found = [];
  for await (const [name, inner] of folder.entries()) {
    const within = `${path}/${name}`;
    if (inner.kind === "directory") found.push(...(await inHandle(inner, within)));
    else found.push({ path: within, file: await inner.getFile() });
  }
  return found;
}

async function inEntry(folder) {
  const reader = folder.createReader(), found = [];
  // A hundred at a time, until there are none.
  for (let some; (some = await new Promise((done, failed) => reader.readEntries(done, failed))).length;)
    for (const entry of some) found.push(...(entry.isDirectory ? await inEntry(entry) : [await fileOf(entry)]));
  return found;
}

const fileOf = (entry) =>
  new Promise((done, failed) => entry.file((file) => done({ path: entry.fullPath.slice(1), file }), failed));
