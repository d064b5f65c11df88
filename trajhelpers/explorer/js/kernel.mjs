/**
 * A trajectory's kernel: inner products of any two differences of its checkpoints, in float64.
 *
 * Row t of a group's products is that of θ_t − θ_links[t], −1 for O, the zero of parameter space;
 * mostly the checkpoint before. Links are a tree, and every sum runs outwards along it from where
 * things are seen: nothing large is subtracted from something large. The formulas are those of
 * trajhelpers/kernel, which tests compare with these.
 */

export const O = -1;
const UNIT = { float64: 2 ** -53, float32: 2 ** -24 };
const LONGEST_SUM = 8192;
const SILENT = { float64: 1e-9, float32: 1e-6 };
const HIDDEN_EXCESS = 1e-6;

/** @typedef {"float64"|"float32"} Precision */

/**
 * Of the product of two rows of p numbers, relative to their lengths.
 * @param {number} p
 * @param {Precision} precision
 */
const relativeError = (p, precision) =>
  UNIT[precision] * (3 + Math.sqrt(Math.min(p, LONGEST_SUM)) + Math.sqrt(p / LONGEST_SUM));

/** @param {number} c */
const clipped = (c) => (Math.abs(c) <= 1 + HIDDEN_EXCESS ? Math.min(1, Math.max(-1, c)) : c);

/**
 * @typedef {{name: string, size: number, products: Float64Array, squared?: Float64Array}} Group
 * @typedef {[row: number, sign: number][]} Way  differences that add up to another
 * @typedef {object} Cosines
 * @property {number[]} kept      the checkpoints that have a direction
 * @property {Float64Array} cosine  among them, k × k
 * @property {number} omega       their mean
 * @property {number} lowest
 * @property {number} error       how far rounding may have moved one, where that is worth a word, else 0
 */

export class Kernel {
  /**
   * @param {{label?: string, steps: (number|string)[], groups: Group[], links?: number[],
   *   precision?: Precision, exponent?: number, sample?: string}} parts
   *   `products` have n × n numbers a group, in units of 2^exponent, squared; `squared` the squared
   *   lengths of the ways that rows are sums of, by default theirs; `sample` says what the kernel
   *   is an estimate from.
   */
  constructor({ label = "", steps, groups, links, precision = "float64", exponent = 0, sample = "" }) {
    const n = steps.length;
    this.n = n;
    this.label = label;
    this.steps = steps;
    this.groups = groups;
    this.precision = precision;
    this.exponent = exponent;
    this.sample = sample;
    /** @type {number[]} */
    this.links = links ?? steps.map((_, t) => t - 1);
    this.p = groups.reduce((p, group) => p + group.size, 0);
    this.products = summed(groups.map((group) => group.products), n * n);
    this.squared = summed(groups.map((group) => group.squared ?? diagonal(group.products, n)), n);
    this.edges = edgesOf(this.links);
  }

  /**
   * The kernel of one of the groups.
   * @param {string} name
   */
  only(name) {
    return new Kernel({ ...this, groups: this.groups.filter((group) => group.name === name) });
  }

  /** What is seen from `origin`, a checkpoint or O. */
  from(origin = O) {
    return new Sight(this, origin);
  }

  /**
   * C, or C_τ, among the checkpoints of `taken`.
   * @returns {Cosines}
   */
  cosine(origin = O, taken = everyOf(this.n)) {
    const seen = this.from(origin);
    const kept = taken.filter((t) => t !== origin && !Number.isNaN(seen.length(t))), k = kept.length;
    const length = kept.map((t) => seen.length(t)), cosine = new Float64Array(k * k);
    let sum = 0, lowest = 1, error = 0;
    for (let i = 0; i < k; i++) {
      for (let j = i; j < k; j++) {
        const c = i === j ? 1 : clipped(seen.product(kept[i], kept[j]) / (length[i] * length[j]));
        cosine[i * k + j] = cosine[j * k + i] = c;
        sum += i === j ? c : 2 * c;
        lowest = Math.min(lowest, c);
      }
      const way = seen.way[kept[i]] / length[i], made = seen.made[kept[i]] / length[i] ** 2;
      error = Math.max(error, this.#rounding(way, made));
    }
    return { kept, cosine, omega: sum / k ** 2, lowest, error: error > SILENT[this.precision] ? error : 0 };
  }

  /** @param {number} way @param {number} made */
  #rounding(way, made) {
    if (this.precision === "float32") return UNIT.float32 * made;
    return 2 * relativeError(this.p, "float64") * way ** 2 + 4 * UNIT.float64;
  }

  /**
   * The way from one checkpoint to another: rows of the products, with their signs.
   * @param {number} start
   * @param {number} end
   * @returns {Way}
   */
  way(start, end) {
    /** @type {Way} */
    const back = [];
    /** @type {Way} */
    const forth = [];
    const { links } = this, above = new Set();
    for (let t = end; ; t = links[t]) {
      above.add(t);
      if (t < 0) break;
    }
    let common = start;
    for (; !above.has(common); common = links[common]) back.push([common, -1]);
    for (let t = end; t !== common; t = links[t]) forth.push([t, 1]);
    return back.concat(forth);
  }

  /**
   * ⟨θ_end − θ_start, θ_otherEnd − θ_otherStart⟩, of two ways.
   * @param {Way} way
   * @param {Way} other
   */
  between(way, other) {
    let sum = 0;
    for (const [a, sign] of way) for (const [b, another] of other) sum += sign * another * this.products[a * this.n + b];
    return sum;
  }

  /**
   * The length of what a way leads over; NaN where rounding leaves nothing of it.
   * @param {Way} way
   */
  length(way) {
    const squared = this.between(way, way);
    const along = way.reduce((sum, [row]) => sum + Math.sqrt(Math.max(this.squared[row], 0)), 0);
    return this.root(squared, along);
  }

  /**
   * Of a squared length at the end of a way; NaN where rounding leaves nothing of it.
   * @param {number} squared
   * @param {number} way
   */
  root(squared, way) {
    return squared > relativeError(this.p, "float64") * way ** 2 ? Math.sqrt(squared) : NaN;
  }

  /**
   * A path of the same step lengths, every step at a right angle to all others; its start as far
   * from O as the run's.
   */
  asWalk(taken = everyOf(this.n)) {
    const n = taken.length, products = new Float64Array(n * n);
    taken.forEach((t, i) => {
      const way = this.way(i ? taken[i - 1] : O, t);
      products[i * n + i] = Math.max(this.between(way, way), 0);
    });
    const groups = [{ name: "walk", size: this.p, products }];
    return new Kernel({ ...this, links: undefined, steps: taken.map((t) => this.steps[t]), groups, precision: "float64" });
  }
}

/** Products of differences θ_t − θ_origin; O is the last point, n. */
export class Sight {
  /** @param {Kernel} kernel @param {number} origin */
  constructor(kernel, origin) {
    const { n, products, squared, edges } = kernel, m = n + 1;
    const order = outwards(edges, origin < 0 ? n : origin);
    this.kernel = kernel;
    this.m = m;
    this.way = new Float64Array(m);
    this.made = new Float64Array(m);
    // Of each row with each point.
    this.inner = new Float64Array(n * m);
    this.gram = new Float64Array(m * m);
    for (let a = 0; a < n; a++)
      for (const { node, from, row, sign } of order)
        this.inner[a * m + node] = this.inner[a * m + from] + sign * products[a * n + row];
    for (const { node, from, row, sign } of order) {
      for (let t = 0; t < m; t++) this.gram[node * m + t] = this.gram[from * m + t] + sign * this.inner[row * m + t];
      this.way[node] = this.way[from] + Math.sqrt(Math.max(squared[row], 0));
      this.made[node] = this.made[from] + squared[row];
    }
  }

  /** @param {number} s @param {number} t */
  product(s, t) {
    return (this.gram[s * this.m + t] + this.gram[t * this.m + s]) / 2;
  }

  /** @param {number} t */
  length(t) {
    return this.kernel.root(this.gram[t * this.m + t], this.way[t]);
  }

  /**
   * The product of θ_t − θ_origin with what a way leads over.
   * @param {Way} way
   * @param {number} t
   */
  along(way, t) {
    return way.reduce((sum, [row, sign]) => sum + sign * this.inner[row * this.m + t], 0);
  }
}

/** @param {number} n */
export const everyOf = (n) => Array.from({ length: n }, (_, t) => t);

/** @param {number} cosine */
export const degrees = (cosine) => (Math.acos(clipped(cosine)) * 180) / Math.PI;

/** @param {Float64Array} products @param {number} n */
const diagonal = (products, n) => Float64Array.from({ length: n }, (_, t) => products[t * n + t]);

/** @param {Float64Array[]} parts @param {number} length */
function summed(parts, length) {
  if (parts.length === 1) return parts[0];
  const sum = new Float64Array(length);
  for (const part of parts) for (let i = 0; i < length; i++) sum[i] += part[i];
  return sum;
}

/** @typedef {{node: number, row: number, sign: number}} Edge */

/**
 * By node, O the last: its neighbours in the tree, the row between, and the sign towards them.
 * @param {number[]} links
 */
function edgesOf(links) {
  const n = links.length;
  /** @type {Edge[][]} */
  const edges = Array.from({ length: n + 1 }, () => []);
  links.forEach((link, t) => {
    const above = link < 0 ? n : link;
    edges[above].push({ node: t, row: t, sign: 1 });
    edges[t].push({ node: above, row: t, sign: -1 });
  });
  return edges;
}

/**
 * Every other node, after the one that it is reached from.
 * @param {Edge[][]} edges
 * @param {number} origin
 */
function outwards(edges, origin) {
  /** @type {(Edge & {from: number})[]} */
  const order = [];
  const reached = new Uint8Array(edges.length), queue = [origin];
  reached[origin] = 1;
  for (const from of queue)
    for (const edge of edges[from]) {
      if (reached[edge.node]) continue;
      reached[edge.node] = 1;
      order.push({ ...edge, from });
      queue.push(edge.node);
    }
  return order;
}
