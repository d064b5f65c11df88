/**
 * Which files of what was opened are checkpoints, and in which order: a file each, or a folder
 * each, whole or in shards. The plain cases of trajhelpers/reading/folders.py and weights.py.
 */

import { stepsOf } from "./naming.mjs";

const USUAL = [".safetensors", ".safetensors.index.json"].flatMap((ending) =>
  ["model", "adapter_model", "pytorch_model"].map((stem) => stem + ending));
const ENDING = /\.safetensors(\.index\.json)?$/;
const SHARD = /^(.+)-(\d{5})-of-(\d{5})\.safetensors$/;
const OTHERS = /\.(pt|pth|ckpt|npz|msgpack|tar|distcp|bin|h5|gguf|onnx)$/;
// What training loops write beside the weights.
const SIDE = new RegExp("^(optimizer|optim|scheduler|rng_state|random_states|training_args|trainer_state|scaler" +
  "|sampler|dataloader|custom_checkpoint|extra_state|recipe_state)(?![a-z])|optim_states|optimizer", "i");
const RANK = /rank[-_]?\d+(?![a-z\d])/i;
const DEEPEST = 4; // so far below what was opened its checkpoints may lie

/** @typedef {import("./safetensors.mjs").Entry} Entry */
/** @typedef {{path: string, name: string, folders: Map<string, Folder>, files: Map<string, Entry>}} Folder */
/**
 * Of a checkpoint: one of a file, an index and shards.
 * @typedef {{path: string, file?: Entry, index?: Entry, shards?: Entry[], beside: Map<string, Entry>}} Where
 */

/**
 * The checkpoints of a run, in order.
 * @param {Entry[]} entries
 * @returns {{where: string, name: string, checkpoints: {step: number, where: Where}[], leftOut: string[]}}
 */
export function checkpointsIn(entries) {
  const folder = runWithin(treeOf(entries)), where = folder.path || "what was opened";
  const { found, leftOut } = candidates(folder);
  const { ordered, leftOut: without } = stepsOf(found.map(({ name }) => name), where);
  leftOut.push(...without.map(({ index, why }) => `${found[index].where.path}: ${why}`));
  const listed = leftOut.slice(0, 5).map((line) => `; left out ${line}`).join("");
  if (!ordered.length)
    throw new Error(`${where}: no checkpoints (expected .safetensors files, or one folder a checkpoint, with the step` +
      ` in their names, as step_100.safetensors or checkpoint-100/model.safetensors)${listed}`);
  if (ordered.length === 1) {
    const only = found[ordered[0].index].where.path.split("/").at(-1);
    throw new Error(`${where}: one checkpoint only (${only}), and a trajectory needs two at least${listed}`);
  }
  const checkpoints = ordered.map(({ index, step }) => ({ step, where: found[index].where }));
  return { where, name: folder.name || "your run", checkpoints, leftOut };
}

/**
 * Files and folders, by their paths; hidden ones and unfinished ones are none.
 * @param {Entry[]} entries
 * @returns {Folder}
 */
function treeOf(entries) {
  const root = newFolder("", "");
  for (const entry of entries) {
    const parts = entry.path.split("/"), own = parts.pop() ?? "";
    if ([...parts, own].some((part) => part.startsWith(".") || /\.(tmp|partial)$/.test(part))) continue;
    let folder = root;
    for (const name of parts) {
      const inner = folder.folders.get(name) ?? newFolder(folder.path ? `${folder.path}/${name}` : name, name);
      folder.folders.set(name, inner);
      folder = inner;
    }
    folder.files.set(own, entry);
  }
  // One folder is what was opened.
  return root.folders.size === 1 && !root.files.size ? [...root.folders.values()][0] : root;
}

/**
 * @param {string} path
 * @param {string} name
 * @returns {Folder}
 */
function newFolder(path, name) {
  return { path, name, folders: new Map(), files: new Map() };
}

/**
 * The folder itself, or the one below it that has checkpoints where it has none.
 * @param {Folder} folder
 */
function runWithin(folder) {
  if (candidates(folder).found.length) return folder;
  let level = [folder];
  for (let depth = 0; depth < DEEPEST; depth++) {
    level = level.flatMap(({ folders }) => [...folders.values()]);
    const runs = level.filter((inner) => candidates(inner).found.length);
    if (runs.length > 1)
      throw new Error(`${folder.path || "what was opened"}: holds several runs, ` +
        `${runs.slice(0, 4).map(({ path }) => path).join(", ")}${runs.length > 4 ? " …" : ""}; open one of them`);
    if (runs.length) return runs[0];
  }
  return folder;
}

/**
 * All that may be a checkpoint in a folder, and what is left out, with the reason.
 * @param {Folder} folder
 */
function candidates(folder) {
  /** @type {{name: string, where: Where}[]} */
  const found = [];
  /** @type {string[]} */
  const leftOut = [];
  /** @type {Map<string, number>} what is of another format, how often */
  const other = new Map(), count = (/** @type {string} */ what) => other.set(what, (other.get(what) ?? 0) + 1);
  for (const [name, inner] of folder.folders) {
    const where = weightsIn(inner);
    if (where) found.push({ name, where });
    else if ([...inner.files.keys()].some((file) => ENDING.test(file) && !SHARD.test(file)))
      leftOut.push(`${inner.path}: holds several weight files, none of a usual name`);
    else if ([...inner.files.keys()].some((file) => OTHERS.test(file))) count("folder without safetensors");
  }
  for (const [name, entry] of folder.files) {
    if (SHARD.test(name)) continue;
    const ending = OTHERS.exec(name);
    if (ending && !SIDE.test(name)) count(ending[0]);
    if (!ENDING.test(name)) continue;
    refuseRank(entry.path, name);
    if (SIDE.test(name)) leftOut.push(`${entry.path}: a training loop's side file`);
    else found.push({ name: name.replace(ENDING, ""), where: whereOf(entry, folder) });
  }
  for (const [what, times] of other)
    leftOut.push(`${times} ${what}, which \`trajhelpers gram\` reads and this page does not`);
  return { found, leftOut };
}

/**
 * @param {Entry} entry
 * @param {Folder} folder
 * @returns {Where}
 */
function whereOf(entry, folder) {
  const { path } = entry, beside = folder.files;
  return path.endsWith(".json") ? { path, index: entry, beside } : { path, file: entry, beside };
}

/**
 * What holds the weights in a folder that is one checkpoint; null where it is none.
 * @param {Folder} folder
 * @returns {Where|null}
 */
function weightsIn(folder) {
  const { files } = folder, names = [...files.keys()];
  const usual = USUAL.map((name) => files.get(name)).find((entry) => entry !== undefined);
  const another = names.find((name) => /^(pytorch_)?model_\d+\.safetensors$/.test(name));
  if (usual && another)
    throw new Error(`${folder.path}: holds several networks, ${usual.path} and ${another}; move one away, or say` +
      " which with `trajhelpers gram --file`");
  if (usual) return whereOf(usual, folder);
  const own = names.filter((name) => !SIDE.test(name) && !SHARD.test(name));
  const fitting = own.filter((name) => name.endsWith(".safetensors"));
  const stem = (/** @type {string} */ name) => name.replace(ENDING, "").replace(OTHERS, "").replace(/^pytorch_/, "");
  const others = own.filter((name) => OTHERS.test(name) && !name.endsWith(".bin"));
  for (const name of fitting) refuseRank(`${folder.path}/${name}`, name);
  const only = fitting.length === 1 && files.get(fitting[0]);
  if (only && others.every((name) => stem(name) === stem(fitting[0]))) return whereOf(only, folder);
  return shardsIn(folder, names);
}

/** @param {string} path @param {string} name */
function refuseRank(path, name) {
  if (RANK.test(name))
    throw new Error(`${path}: is one rank's part of a checkpoint; \`trajhelpers gram\` reads them together`);
}

/**
 * Shards that need no index, since all are read.
 * @param {Folder} folder
 * @param {string[]} names  of its files
 * @returns {Where|null}
 */
function shardsIn(folder, names) {
  const own = names.filter((name) => !SIDE.test(name));
  const found = own.map((name) => SHARD.exec(name)).filter((match) => match !== null);
  if (new Set(found.map((match) => `${match[1]} ${match[3]}`)).size !== 1) return null;
  const numbers = new Map(found.map((match) => [+match[2], folder.files.get(match[0])]));
  const shards = Array.from({ length: +found[0][3] }, (_, i) => {
    const shard = numbers.get(i + 1);
    if (shard) return shard;
    throw new Error(`${folder.path}: shard ${i + 1} of ${+found[0][3]} is missing, and no index says what is in it;` +
      " fetch it");
  });
  return { path: folder.path, shards, beside: folder.files };
}
