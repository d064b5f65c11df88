/** What a reader gives to the page, files and folders, as files with their paths. */

/** @typedef {import("./safetensors.mjs").Entry} Entry */
/** @typedef {DataTransferItem & {getAsFileSystemHandle?: () => Promise<FileSystemHandle|null>}} Item */

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
  /** @type {Item[]} */
  const items = Array.from(transfer.items).filter(({ kind }) => kind === "file");
  // Chromium gives entries of a page from a disk no content, and other browsers have no handles.
  const given = items.map((item) =>
    ({ file: item.getAsFile(), handle: item.getAsFileSystemHandle?.(), entry: item.webkitGetAsEntry() }));
  try {
    const found = await Promise.all(given.map(async ({ file, handle, entry }) => {
      const place = await handle;
      if (place?.kind === "directory") return inHandle(/** @type {FileSystemDirectoryHandle} */ (place), place.name);
      if (entry?.isDirectory) return inEntry(/** @type {FileSystemDirectoryEntry} */ (entry));
      return file ? [{ path: file.name, file }] : [];
    }));
    return found.flat();
  } catch {
    throw new Error("this browser does not let a page read a folder that is dropped here; open it with the button");
  }
}

/**
 * @param {FileSystemDirectoryHandle} folder
 * @param {string} path
 * @returns {Promise<Entry[]>}
 */
async function inHandle(folder, path) {
  /** @type {AsyncIterable<FileSystemDirectoryHandle|FileSystemFileHandle>} */
  const handles = Object(folder).values(), found = [];
  for await (const inner of handles) {
    const within = `${path}/${inner.name}`;
    if (inner.kind === "directory") found.push(...(await inHandle(inner, within)));
    else found.push({ path: within, file: await inner.getFile() });
  }
  return found;
}

/**
 * @param {FileSystemDirectoryEntry} folder
 * @returns {Promise<Entry[]>}
 */
async function inEntry(folder) {
  const reader = folder.createReader(), found = [];
  /** @type {() => Promise<FileSystemEntry[]>} */
  const more = () => new Promise((done, failed) => reader.readEntries(done, failed));
  // A hundred at a time, until there are none.
  for (let some = await more(); some.length; some = await more())
    for (const entry of some)
      if (entry.isDirectory) found.push(...(await inEntry(/** @type {FileSystemDirectoryEntry} */ (entry))));
      else found.push(await fileOf(/** @type {FileSystemFileEntry} */ (entry)));
  return found;
}

/**
 * @param {FileSystemFileEntry} entry
 * @returns {Promise<Entry>}
 */
function fileOf(entry) {
  return new Promise((done, failed) => entry.file((file) => done({ path: entry.fullPath.slice(1), file }), failed));
}
