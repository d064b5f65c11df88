/** Whether what a file holds can be a kernel: as trajhelpers/kernel/validity.py has it. */

/**
 * Against the lengths of the differences: what rounding can do to a product, and some more.
 * @type {Record<string, number>}
 */
const ROUNDING = { float64: 1e-9, float32: 1e-3 };
/** @type {Record<string, number>} */
const SMALLEST = { float64: 2 ** -1022, float32: 2 ** -126 };
const LARGEST_EXPONENT = 1100; // of a unit of lengths, as a power of two

/** @typedef {import("./kernel.mjs").Group & {squared: Float64Array}} Group */

/**
 * @param {{steps: unknown[], groups: Group[], links?: number[], precision: string, exponent: number}} parts
 */
export function refuseNoKernel({ steps, groups, links, precision, exponent }) {
  const n = steps.length;
  if (!(precision in ROUNDING)) throw new Error(`precision: unknown, '${precision}'`);
  if (new Set(groups.map(({ name }) => name)).size < groups.length)
    throw new Error("names: two groups share one");
  if (groups.some(({ size }) => size < 0)) throw new Error("sizes: has a negative number");
  if (!Number.isInteger(exponent) || Math.abs(exponent) > LARGEST_EXPONENT)
    throw new Error(`exponent: expected a whole number, got ${exponent}`);
  if (links) refuseNoTree(links, n);
  for (const { products, squared } of groups) {
    if (!squared.every((length) => Number.isFinite(length) && length >= 0))
      throw new Error("squared_path: has squared lengths that are negative or not finite");
    refuseNoGram(products, squared, n, precision);
  }
  for (let at = 0; at < n * n; at++)
    if (!Number.isFinite(groups.reduce((sum, { products }) => sum + products[at], 0)))
      throw new Error("increments: their sum over all groups is not finite");
}

/** @param {number[]} links @param {number} n */
function refuseNoTree(links, n) {
  const reached = new Set([-1]);
  for (let before = 0; before < reached.size;) {
    before = reached.size;
    links.forEach((link, t) => reached.has(link) && reached.add(t));
  }
  if (links.length !== n || reached.size <= n) throw new Error(`links: do not all lead to O, ${links}`);
}

/**
 * Rounding is measured against the squared lengths of what each difference was made of.
 * @param {Float64Array} products  n × n
 * @param {Float64Array} squaredPath
 * @param {number} n
 * @param {string} precision
 */
function refuseNoGram(products, squaredPath, n, precision) {
  const rounding = ROUNDING[precision], square = (/** @type {number} */ t) => products[t * n + t];
  if (!products.every((product) => Number.isFinite(product)))
    throw new Error("increments: hold NaN or infinity, which no Gram matrix does");
  const longest = Array.from(squaredPath, (squared, t) => Math.max(squared, Math.abs(square(t))));
  if (longest.some((length, t) => square(t) < -rounding * length))
    throw new Error("increments: have a negative squared length, no Gram matrix");
  const lengths = longest.map((length) => Math.sqrt(Math.max(length, SMALLEST[precision])));
  const scaled = products.map((product, at) => product / lengths[Math.floor(at / n)] / lengths[at % n]);
  if (scaled.some((cosine) => Math.abs(cosine) > 1 + rounding))
    throw new Error("increments: have products longer than their lengths allow");
  for (let t = 0; t < n; t++) scaled[t * n + t] += n * rounding;
  if (!isPositiveDefinite(scaled, n))
    throw new Error("increments: are not positive semidefinite, no Gram matrix");
}

/**
 * By Cholesky's factor, which takes the place of the lower triangle.
 * @param {Float64Array} matrix
 * @param {number} n
 */
function isPositiveDefinite(matrix, n) {
  for (let j = 0; j < n; j++)
    for (let i = j; i < n; i++) {
      let left = matrix[i * n + j];
      for (let k = 0; k < j; k++) left -= matrix[i * n + k] * matrix[j * n + k];
      if (i === j && !(left > 0)) return false;
      matrix[i * n + j] = i === j ? Math.sqrt(left) : left / matrix[j * n + j];
    }
  return true;
}
