/**
 * Safetensors files by their headers: where each tensor lies, and its numbers. Of a file, bytes are
 * read where they are asked for, never all at once. The checks, and what they say, are those of
 * trajhelpers/reading/safetensors_files.py.
 */

const LONGEST_HEADER = 100_000_000;
/** @type {Record<string, number>} */
const BITS = {
  BOOL: 8, U8: 8, I8: 8, F8_E5M2: 8, F8_E4M3: 8, F8_E8M0: 8, F8_E4M3FNUZ: 8, F8_E5M2FNUZ: 8, F4: 4, F6_E2M3: 6,
  F6_E3M2: 6, U16: 16, I16: 16, F16: 16, BF16: 16, U32: 32, I32: 32, F32: 32, U64: 64, I64: 64, F64: 64, C64: 64,
};

/**
 * Bytes of a number, of the types that hold parameters.
 * @type {Record<string, number>}
 */
export const WIDTH = { F64: 8, F32: 4, F16: 2, BF16: 2 };
/**
 * As Python calls them.
 * @type {Record<string, string>}
 */
export const CALLED = { F64: "float64", F32: "float32", F16: "float16", BF16: "bfloat16" };

/** @typedef {{path: string, file: Blob}} Entry  a file and where it lay in what was opened */
/** @typedef {{entry: Entry, dtype: string, shape: number[], size: number, begin: number}} Stored  of a tensor */
/** @typedef {{tensors: Map<string, Stored>, metadata: Record<string, string>}} Header */

/**
 * The tensors of a file, in the order in which they lie.
 * @param {Entry} entry
 * @returns {Promise<Header>}
 */
export async function headerOf(entry) {
  const { path, file } = entry, start = await bytesOf(entry, 0, Math.min(file.size, 64));
  refuseStrangers(path, start);
  if (start.length < 8) throw damaged(path, `it has ${start.length} bytes`);
  const length = Number(new DataView(start.buffer).getBigUint64(0, true));
  if (!(length >= 2 && length <= Math.min(file.size - 8, LONGEST_HEADER)))
    throw damaged(path, `its header would have ${counted(length)} bytes`);
  const content = await bytesOf(entry, 8, 8 + length);
  try {
    return parsed(entry, new TextDecoder("utf-8", { fatal: true }).decode(content), 8 + length);
  } catch (error) {
    throw damaged(path, error instanceof Error ? error.message : String(error));
  }
}

/**
 * @param {Entry} entry
 * @param {string} text  of the header
 * @param {number} start  where tensors begin
 * @returns {Header}
 */
function parsed(entry, text, start) {
  const { __metadata__: metadata = {}, ...header } = JSON.parse(text);
  /** @type {[name: string, {dtype: string, shape: number[], data_offsets: [number, number]}][]} */
  const entries = Object.entries(header);
  /** @type {Map<string, Stored>} */
  const tensors = new Map();
  for (const [name, { dtype, shape, data_offsets }] of entries)
    if (!(dtype in BITS) || !isCounts(shape) || !isCounts(data_offsets) || data_offsets.length !== 2)
      throw new Error(`'${name}' has no type, shape and place that a tensor has`);
  entries.sort(([, one], [, other]) =>
    one.data_offsets[0] - other.data_offsets[0] || one.data_offsets[1] - other.data_offsets[1]);
  let end = 0;
  for (const [name, { dtype, shape, data_offsets: [begin, stop] }] of entries) {
    if (begin !== end)
      throw new Error(`'${name}' begins at ${begin}, where ${end} was expected`);
    const size = shape.reduce((product, length) => product * length, 1);
    if (BITS[dtype] * size !== 8 * (stop - begin))
      throw new Error(`'${name}' has ${stop - begin} bytes, which its shape [${shape.join(", ")}] of ${dtype} does` +
        " not fill");
    tensors.set(name, { entry, dtype, shape, size, begin: start + begin });
    end = stop;
  }
  if (start + end !== entry.file.size)
    throw new Error(`its tensors end at byte ${counted(start + end)} of ${counted(entry.file.size)}`);
  return { tensors, metadata };
}

/** @param {unknown} numbers */
const isCounts = (numbers) =>
  Array.isArray(numbers) && numbers.every((number) => Number.isSafeInteger(number) && number >= 0);

/**
 * Some of a file.
 * @param {Entry} entry
 * @param {number} begin
 * @param {number} end
 */
export async function bytesOf({ path, file }, begin, end) {
  try {
    return new Uint8Array(await file.slice(begin, end).arrayBuffer());
  } catch {
    throw new Error(`${path}: cannot be read, or changed since it was opened; open it again when nothing writes to it`);
  }
}

/** @param {string} path @param {Uint8Array} start  the first bytes */
function refuseStrangers(path, start) {
  const text = new TextDecoder("latin1").decode(start);
  if (!start.length) throw new Error(`${path}: is empty; fetch or save it again`);
  if (text.startsWith("version https://git-lfs"))
    throw new Error(`${path}: is a git-lfs pointer, not the weights themselves; fetch them with \`git lfs pull\``);
  if (text.trimStart()[0] === "<" && text[8] !== "{")
    throw new Error(`${path}: is a web page (HTML), not a checkpoint; the download failed, fetch it again`);
}

const counted = (/** @type {number} */ number) => number.toLocaleString("en");

/** @param {string} path @param {string} reason */
const damaged = (path, reason) =>
  new Error(`${path}: damaged or no safetensors file (${reason}); fetch or save it again`);

/**
 * Numbers of one type, from their bytes, all exactly.
 * @param {Uint8Array<ArrayBuffer>} bytes  which begin where their buffer does
 * @param {string} dtype  one of WIDTH
 * @param {Float64Array} numbers
 */
export function decode(bytes, dtype, numbers) {
  const { buffer } = bytes;
  if (dtype === "F64") numbers.set(new Float64Array(buffer));
  else if (dtype === "F32") numbers.set(new Float32Array(buffer));
  else if (dtype === "BF16")
    numbers.set(new Float32Array(Uint32Array.from(new Uint16Array(buffer), (bits) => bits << 16).buffer));
  else {
    const halves = new Uint16Array(buffer), table = halfValues();
    for (let i = 0; i < halves.length; i++) numbers[i] = table[halves[i]];
  }
}

/** @type {Float32Array|undefined} */
let halfTable;

/** Of all float16, by their bits. */
function halfValues() {
  return (halfTable ??= Float32Array.from({ length: 1 << 16 }, (_, bits) => {
    const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
  }));
}
