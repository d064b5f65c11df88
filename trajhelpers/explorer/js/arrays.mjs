/**
 * The arrays of an .npz, whole and in bounds: of a zip, few bytes may become many, and one byte that
 * changed may be another number. As trajhelpers/reading/arrays.py reads them; nothing is unpickled.
 */

// So much more than the file its arrays may be, or so many bytes at least.
const MOST_TIMES = 100, LEAST = 2 ** 24;
const STORED = 0, DEFLATED = 8, ENCRYPTED = 0x2041;
const END = 0x06054b50, ENTRY = 0x02014b50, LOCAL = 0x04034b50;

/** @typedef {Float64Array|number[]|string[]} Values */
/**
 * @template {Values} [V=Values]
 * @typedef {{shape: number[], kind: string, values: V}} Npy  of kind f, i or U, as numpy calls them
 */

/**
 * Those of these names, where they are there.
 * @param {ArrayBuffer} content
 * @param {string[]} names
 * @returns {Promise<Record<string, Npy>>}
 */
export async function arraysIn(content, names) {
  /** @type {Record<string, Npy>} */
  const found = Object.create(null);
  for (const { name, bytes, method, size, sum } of entriesOf(content)) {
    if (!names.includes(name)) continue;
    const whole = method === STORED ? bytes : await inflated(name, bytes, size);
    if (whole.length !== size || crc32(whole) !== sum)
      throw new Error(`${name}: its bytes are not those that were written`);
    found[name] = array(name, whole);
  }
  return found;
}

/** @param {ArrayBuffer} content */
function entriesOf(content) {
  const view = new DataView(content), entries = [];
  let end = content.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== END) end--;
  if (end < 0) throw new Error("no .npz file");
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left; left--) {
    const length = view.getUint16(at + 28, true), local = view.getUint32(at + 42, true);
    const method = view.getUint16(at + 10, true), packed = view.getUint32(at + 20, true);
    if (view.getUint32(at, true) !== ENTRY || view.getUint32(local, true) !== LOCAL)
      throw new Error("its parts are not where its list says");
    const name = new TextDecoder().decode(new Uint8Array(content, at + 46, length)).replace(/\.npy$/, "");
    if (view.getUint16(at + 8, true) & ENCRYPTED || (method !== STORED && method !== DEFLATED))
      throw new Error(`${name}: encrypted, or packed in an unknown way`);
    const begin = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const bytes = new Uint8Array(content, begin, packed);
    entries.push({ name, bytes, method, size: view.getUint32(at + 24, true), sum: view.getUint32(at + 16, true) });
    at += 46 + length + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  if (new Set(entries.map(({ name }) => name)).size < entries.length) throw new Error("two arrays of one name");
  const asked = entries.reduce((bytes, { size }) => bytes + size, 0);
  if (asked > Math.max(LEAST, MOST_TIMES * content.byteLength))
    throw new Error(`arrays of ${asked.toLocaleString("en")} bytes in ${content.byteLength.toLocaleString("en")}`);
  return entries;
}

/**
 * @param {string} name
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {number} size  that it says it has, and no byte more is unpacked
 */
async function inflated(name, bytes, size) {
  const whole = new Uint8Array(size);
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  try {
    for (let at = 0, part = await reader.read(); !part.done; part = await reader.read()) {
      whole.set(part.value, at);
      at += part.value.length;
    }
  } catch {
    reader.cancel().catch(() => {});
    throw new Error(`${name}: cannot be unpacked`);
  }
  return whole;
}

/** @param {Uint8Array} bytes */
export function crc32(bytes) {
  let sum = -1;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (0xedb88320 & -(sum & 1));
  }
  return ~sum >>> 0;
}

/** @type {Record<string, (view: DataView, at: number, isLittle: boolean) => number>} */
const NUMBERS = {
  f8: (view, at, isLittle) => view.getFloat64(at, isLittle),
  f4: (view, at, isLittle) => view.getFloat32(at, isLittle),
  i8: (view, at, isLittle) => safely(view.getBigInt64(at, isLittle)),
  i4: (view, at, isLittle) => view.getInt32(at, isLittle),
  i2: (view, at, isLittle) => view.getInt16(at, isLittle),
  i1: (view, at) => view.getInt8(at),
};

/**
 * A .npy file: floating point as float64, whole numbers as Number, text as strings.
 * @param {string} name
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Npy}
 */
function array(name, bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isOld = bytes[6] === 1, start = (isOld ? 10 : 12) + (isOld ? view.getUint16(8, true) : view.getUint32(8, true));
  const header = new TextDecoder().decode(bytes.subarray(isOld ? 10 : 12, start));
  const [, descr = "without a type"] = header.match(/'descr':\s*'([^']*)'/) ?? [];
  const [, order, kind, digits] = descr.match(/^([<>|])([fiU])(\d+)$/) ?? [];
  const [, sizes] = header.match(/'shape':\s*\(([^)]*)\)/) ?? [];
  const read = NUMBERS[kind + digits];
  if (sizes === undefined || !(read || kind === "U")) throw new Error(`${name}: of type ${descr}, which no kernel has`);
  const shape = sizes.split(",").filter((size) => size.trim()).map(Number);
  const count = shape.reduce((product, size) => product * size, 1), width = kind === "U" ? 4 * +digits : +digits;
  const data = new DataView(bytes.buffer, bytes.byteOffset + start, bytes.length - start);
  if (count * width !== data.byteLength)
    throw new Error(`${name}: of shape (${sizes}) ${descr} in ${data.byteLength} bytes`);
  const isLittle = order !== ">", all = { length: count };
  const textAt = (/** @type {number} */ i) => text(data, i * width, +digits, isLittle);
  const numberAt = (/** @type {number} */ i) => read(data, i * width, isLittle);
  if (kind === "U") return { shape, kind, values: Array.from(all, (_, i) => textAt(i)) };
  if (kind === "i") return { shape, kind, values: Array.from(all, (_, i) => numberAt(i)) };
  const values = Float64Array.from(all, (_, i) => numberAt(i));
  const isByColumns = /'fortran_order':\s*True/.test(header) && shape.length === 2;
  return { shape, kind, values: isByColumns ? byRows(values, shape) : values };
}

/** @param {bigint} big */
function safely(big) {
  if (Number.isSafeInteger(Number(big))) return Number(big);
  throw new Error(`${big} is too large for this page`);
}

/** @param {DataView} data @param {number} at @param {number} width @param {boolean} isLittle */
function text(data, at, width, isLittle) {
  const points = Array.from({ length: width }, (_, i) => data.getUint32(at + 4 * i, isLittle));
  return String.fromCodePoint(...points).replace(/\0+$/, "");
}

/** @param {Float64Array} values @param {number[]} shape */
function byRows(values, [rows, columns]) {
  const turned = new Float64Array(values.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) turned[i * columns + j] = values[j * rows + i];
  return turned;
}
