/**
 * The parameters of checkpoints, θ: which tensors count, the same in all of them. As
 * trajhelpers/reading has it (shards.py, prefixes.py, buffers.py, choice.py, layout.py), in its
 * words; what that has more rules for, an optimizer's tensors, averages, quantized weights, is
 * refused here.
 */

import { CALLED, WIDTH, bytesOf, headerOf } from "./safetensors.mjs";

const MOST_GROUPS = 2000;
const LONGEST_INDEX = 100_000_000;
const MORE = "`trajhelpers gram` knows what to do with it";
const STATISTIC = "a running statistic", SPECTRAL = "a vector of spectral normalization";
/** @type {Record<string, string>} */
const BY_LAST_PART = {
  running_mean: STATISTIC, running_var: STATISTIC, num_batches_tracked: STATISTIC, moving_mean: STATISTIC,
  moving_variance: STATISTIC, masked_bias: "a causal mask",
};
const ROTARY = ["inv_freq", "original_inv_freq", "cos_cached", "sin_cached", "freqs_cis"];
const OBSERVER = /^(activation_post_process(_\d+)?|weight_fake_quant)$/;
const BESIDE_ORIGINAL = { _u: SPECTRAL, _v: SPECTRAL, _mask: "a mask of pruning" };
const OF_CODEBOOKS = ["cluster_size", "embed_avg"];
// Parts of names: of an optimizer, of what is kept beside the network that is trained.
const OPTIMIZER = new RegExp("^(optim(izer|iser)?s?(_states?)?|opt_states?|(max_)?exp_avg(_\\w+)?|exp_inf" +
  "|momentum_buffer|square_avg|grad_avg|sqr_avg|acc_delta|hessian_diag)$");
const COPY = /(?<![a-z])(ema|emas|swa|polyak|averaged|shadows?|teacher|target|encoder_k)(?![a-z])/i;
const PACKED = /^([UI](8|32)|F8_.*|F4|F6_.*)$/;
const NAMED_WEIGHT = /(^|[._])\w*(weight|_blocks|W_q|weight_packed|qdata|int_data)$/;

/** @typedef {import("./folder.mjs").Where} Where */
/** @typedef {import("./safetensors.mjs").Stored} Stored */
/** @typedef {import("./safetensors.mjs").Entry} Entry */
/** @typedef {Map<string, Stored>} Tensors  of one checkpoint */
/** @typedef {{name: string, size: number, stored: Stored[]}} Tensor  one `stored` a checkpoint */

/**
 * @param {Where[]} checkpoints
 * @param {(done: number) => void} told  how many have been read
 * @returns {Promise<{tensors: Tensor[], leftOut: string[]}>} tensors in the order of the first checkpoint
 */
export async function layoutOf(checkpoints, told) {
  /** @type {Tensors[]} */
  const all = [];
  for (const where of checkpoints) {
    all.push(withoutPrefixes(await tensorsOf(where)));
    told(all.length);
  }
  const [first, ...others] = all, source = checkpoints[0].path;
  /** @type {string[]} */
  const leftOut = [], /** @type {string[]} */ names = [];
  refuseOthers(first, source);
  for (const [name, tensor] of first) {
    const why = reason(name, tensor, first);
    if (why) leftOut.push(`${name}: ${why}`);
    else if (tensor.size) names.push(name);
  }
  if (!names.length)
    throw new Error(`${source}: no parameters left; it holds ${[...first.keys()].slice(0, 8).join(", ") || "nothing"}`);
  if (names.length > MOST_GROUPS)
    throw new Error(`${source}: ${names.length} tensors, more than a page shows one by one; ${MORE}`);
  others.forEach((tensors, i) => refuseOtherNames(tensors, checkpoints[i + 1].path, first, names, source));
  const tensors = names.map((name) => {
    const stored = all.map((one) => /** @type {Stored} */ (one.get(name)));
    stored.forEach((one, i) => refuseOtherShape(name, one, checkpoints[i].path, stored[0], source));
    return { name, size: stored[0].size, stored };
  });
  return { tensors, leftOut };
}

// ---- of one checkpoint ----

/**
 * @param {Where} where
 * @returns {Promise<Tensors>}
 */
async function tensorsOf({ file, index, shards = [], beside }) {
  if (file) return plain(file);
  if (index) return ofIndex(index, beside);
  /** @type {Tensors} */
  const tensors = new Map();
  for (const shard of shards)
    for (const [name, tensor] of await plain(shard)) {
      if (tensors.has(name))
        throw new Error(`${shard.path}: has tensor '${name}', which another file of the checkpoint has too; the` +
          " shards are of different saves, fetch or save them again");
      tensors.set(name, tensor);
    }
  return tensors;
}

/** @param {Entry} entry */
async function plain(entry) {
  const { tensors, metadata } = await headerOf(entry);
  if ("trajhelpers_sample" in metadata) throw new Error(`${entry.path}: holds a sample of the parameters; ${MORE}`);
  return tensors;
}

/** @param {Entry} index @param {Map<string, Entry>} beside */
async function ofIndex(index, beside) {
  const shards = await weightMap(index), files = [...new Set(Object.values(shards))].sort();
  const missing = files.filter((shard) => !beside.has(shard));
  if (missing.length)
    throw new Error(`${index.path}: names shards that are not there: ${missing.join(", ")}; fetch them`);
  /** @type {Map<string, Tensors>} */
  const found = new Map();
  for (const shard of files) found.set(shard, await plain(/** @type {Entry} */ (beside.get(shard))));
  const unnamed = [...found].flatMap(([shard, found]) => [...found.keys()].filter((name) => shards[name] !== shard));
  if (unnamed.length)
    throw new Error(`${index.path}: does not list '${unnamed[0]}', which lies in its shards; fetch or save it again`);
  return new Map(Object.entries(shards).map(([name, shard]) => {
    const tensor = found.get(shard)?.get(name);
    if (!tensor)
      throw new Error(`${index.path}: promises '${name}', which shard ${shard} does not hold; fetch or save it again`);
    return [name, tensor];
  }));
}

/**
 * @param {Entry} index
 * @returns {Promise<Record<string, string>>} by tensor, its shard
 */
async function weightMap(index) {
  let found;
  if (index.file.size < LONGEST_INDEX)
    try {
      found = JSON.parse(new TextDecoder().decode(await bytesOf(index, 0, index.file.size)))?.weight_map;
    } catch (error) {
      throw new Error(`${index.path}: damaged (${error}); fetch or save it again`);
    }
  if (!found || typeof found !== "object")
    throw new Error(`${index.path}: it is no index of shards, without a 'weight_map'; fetch or save it again`);
  return found;
}

/**
 * What DataParallel, DDP, FSDP and torch.compile put before names, taken off all of them or none.
 * @param {Tensors} tensors
 */
function withoutPrefixes(tensors) {
  let names = unwrapped([...tensors.keys()]);
  while (names.length && names.every((name) => name.startsWith("module.")))
    names = unwrapped(names.map((name) => name.slice("module.".length)));
  return new Map([...tensors.values()].map((tensor, i) => [names[i], tensor]));
}

/** @param {string[]} names */
function unwrapped(names) {
  const shorter = names.map((name) => name.replace(/(^|\.)(?:(?:_orig_mod|_fsdp_wrapped_module)\.)+/g, "$1"));
  return new Set(shorter).size === names.length ? shorter : names;
}

// ---- which count ----

/**
 * Why a tensor is no parameter, or null.
 * @param {string} name
 * @param {{dtype: string, shape: number[]}} tensor
 * @param {Tensors} tensors
 */
function reason(name, { dtype, shape }, tensors) {
  const parts = name.split("."), own = parts[parts.length - 1], above = parts.slice(0, -1);
  const layer = name.slice(0, name.length - own.length), named = BY_LAST_PART[own];
  if (named) return named;
  if (ROTARY.includes(own)) return "a table of rotary embeddings";
  if (above.includes("batch_stats")) return STATISTIC;
  if (above.some((part) => OBSERVER.test(part))) return "an observer of quantization";
  if (/(^|\.)parametrizations\.[^.]+\.\d+\._[uv]$/.test(name)) return SPECTRAL;
  const isSquareOfHeads = shape.length === 4 && shape[0] === 1 && shape[1] === 1;
  if (isSquareOfHeads && /(^|\.)(attn|attention)\.bias$/.test(name)) return "a causal mask";
  for (const [ending, what] of Object.entries(BESIDE_ORIGINAL))
    if (name.endsWith(ending) && tensors.has(`${name.slice(0, -ending.length)}_orig`)) return what;
  if (own === "queue" && tensors.has(`${name}_ptr`)) return "a queue";
  if (OF_CODEBOOKS.includes(own) && OF_CODEBOOKS.every((other) => tensors.has(layer + other))) return STATISTIC;
  return WIDTH[dtype] ? null : `${dtype}, not a parameter`;
}

/**
 * What Python has more rules for than this page.
 * @param {Tensors} tensors
 * @param {string} source
 */
function refuseOthers(tensors, source) {
  for (const [name, { dtype, shape }] of tensors) {
    const ofOptimizer = name.split(/[./]/).some((part) => OPTIMIZER.test(part)) && "an optimizer";
    const other = ofOptimizer || (COPY.test(name) && "a copy or an average of the network");
    if (other) throw new Error(`${source}: '${name}' may be of ${other}, and no parameter; ${MORE}`);
    if (name.endsWith("flat_param"))
      throw new Error(`${source}: '${name}' is one rank's flattened part of the parameters (FSDP); gather them before` +
        " saving (FULL_STATE_DICT)");
    if (PACKED.test(dtype) && shape.length >= 2 && NAMED_WEIGHT.test(name))
      throw new Error(`${source}: parameter '${name}': quantized (stored as ${dtype}); open checkpoints that are not`);
    const why = reason(name, { dtype, shape }, tensors);
    if (/^(F8_|F4|F6_|C64)/.test(dtype) && why?.endsWith("not a parameter"))
      throw new Error(unread(source, name, dtype));
  }
}

/** @param {string} path @param {string} name @param {string} dtype */
const unread = (path, name, dtype) =>
  `${path}: parameter '${name}' is stored as ${dtype}; only ${Object.values(CALLED).join(", ")} can be read`;

/**
 * @param {Tensors} tensors
 * @param {string} path
 * @param {Tensors} first
 * @param {string[]} names  that count
 * @param {string} source  of the first
 */
function refuseOtherNames(tensors, path, first, names, source) {
  const remedy = "open files of one model only";
  const andMore = (/** @type {string[]} */ some) => (some.length > 1 ? ` and ${some.length - 1} more` : "");
  const missing = names.filter((name) => !tensors.has(name));
  if (missing.length)
    throw new Error(`${path}: lacks parameter '${missing[0]}'${andMore(missing)}, which ${source} has; ${remedy}`);
  const counted = new Set(names), isNew = (/** @type {[string, Stored]} */ [name, tensor]) => {
    const before = first.get(name), isSame = before && before.dtype === tensor.dtype && before.size;
    return !counted.has(name) && !isSame && tensor.size && !reason(name, tensor, tensors);
  };
  const extra = [...tensors].filter(isNew).map(([name]) => name);
  if (extra.length)
    throw new Error(`${path}: has parameter '${extra[0]}'${andMore(extra)}, which ${source} lacks; ${remedy}`);
}

/**
 * @param {string} name
 * @param {Stored} tensor
 * @param {string} path
 * @param {Stored} first
 * @param {string} source  of the first
 */
function refuseOtherShape(name, { dtype, shape }, path, first, source) {
  const called = (/** @type {number[]} */ sizes) => `(${sizes.join(", ")}${sizes.length === 1 ? "," : ""})`;
  if (String(shape) !== String(first.shape))
    throw new Error(`${path}: parameter '${name}' has shape ${called(shape)}, expected ${called(first.shape)} as in` +
      ` ${source}; open files of one model only`);
  if (!WIDTH[dtype]) throw new Error(unread(path, name, dtype));
}
