/**
 * Eigenvalues of a symmetric matrix, in descending order, and eigenvectors where they are asked
 * for: to a tridiagonal matrix by reflections (Householder), then rotations with implicit shifts
 * (QL; Bowdler, Martin, Reinsch and Wilkinson 1968). Order n³; matrices are a few hundred wide.
 */

/**
 * @param {Float64Array} matrix n × n
 * @param {number} n
 * @param {boolean} isWithVectors
 * @returns {{values: Float64Array, vectors: Float64Array[]}} vectors[i] belongs to values[i]
 */
export function eigen(matrix, n, isWithVectors = false) {
  const { diagonal, beside, basis } = tridiagonal(matrix, n, isWithVectors);
  rotate(diagonal, beside, basis, n);
  const order = Array.from(diagonal.keys()).sort((i, j) => diagonal[j] - diagonal[i]);
  const values = Float64Array.from(order, (i) => diagonal[i]);
  return { values, vectors: basis ? order.map((i) => basis[i]) : [] };
}

/**
 * Reflections that leave a diagonal and what lies beside it; `basis` holds their product.
 * @param {Float64Array} matrix
 * @param {number} n
 * @param {boolean} isWithVectors
 */
function tridiagonal(matrix, n, isWithVectors) {
  const a = Array.from({ length: n }, (_, i) => Float64Array.from(matrix.subarray(i * n, i * n + n)));
  const basis = isWithVectors ? a.map((_, i) => Float64Array.from({ length: n }, (_, j) => +(i === j))) : null;
  for (let k = 0; k < n - 2; k++) {
    const column = a[k];
    let norm = 0;
    for (let i = k + 1; i < n; i++) norm = Math.hypot(norm, column[i]);
    if (norm === 0) continue;
    // u reflects what is left of the column into its first entry, away from cancellation.
    const u = new Float64Array(n);
    const sign = column[k + 1] < 0 ? -1 : 1;
    for (let i = k + 1; i < n; i++) u[i] = column[i] / norm;
    u[k + 1] += sign;
    const scale = 1 / (1 + Math.abs(column[k + 1] / norm));
    const moved = new Float64Array(n);
    let along = 0;
    for (let i = k + 1; i < n; i++) {
      let sum = 0;
      for (let j = k + 1; j < n; j++) sum += a[i][j] * u[j];
      moved[i] = scale * sum;
      along += u[i] * moved[i];
    }
    for (let i = k + 1; i < n; i++) moved[i] -= (scale * along * u[i]) / 2;
    for (let i = k + 1; i < n; i++) for (let j = k + 1; j < n; j++) a[i][j] -= u[i] * moved[j] + moved[i] * u[j];
    for (let i = k + 1; i < n; i++) a[k][i] = a[i][k] = 0;
    a[k][k + 1] = a[k + 1][k] = -sign * norm;
    if (basis)
      for (const row of basis) {
        let sum = 0;
        for (let i = k + 1; i < n; i++) sum += row[i] * u[i];
        for (let i = k + 1; i < n; i++) row[i] -= scale * sum * u[i];
      }
  }
  return {
    diagonal: Float64Array.from({ length: n }, (_, i) => a[i][i]),
    beside: Float64Array.from({ length: n }, (_, i) => (i < n - 1 ? a[i][i + 1] : 0)),
    // Its columns are the vectors; as rows, rotations run along memory.
    basis: basis && basis.map((_, j) => Float64Array.from(basis, (row) => row[j])),
  };
}

/**
 * Rotate until nothing is left beside the diagonal.
 * @param {Float64Array} d  the diagonal
 * @param {Float64Array} e  what lies beside it
 * @param {Float64Array[]|null} basis
 * @param {number} n
 */
function rotate(d, e, basis, n) {
  for (let first = 0; first < n; first++) {
    for (let tries = 0; ; tries++) {
      let last = first;
      while (last < n - 1 && Math.abs(e[last]) > Number.EPSILON * (Math.abs(d[last]) + Math.abs(d[last + 1]))) last++;
      if (last === first) break;
      if (tries === 60) throw new Error("eigenvalues did not settle");
      const half = (d[first + 1] - d[first]) / (2 * e[first]);
      let g = d[last] - d[first] + e[first] / (half + (half < 0 ? -1 : 1) * Math.hypot(half, 1));
      let sine = 1, cosine = 1, shift = 0, i = last - 1;
      for (; i >= first; i--) {
        const f = sine * e[i], b = cosine * e[i], r = Math.hypot(f, g);
        e[i + 1] = r;
        if (r === 0) {
          d[i + 1] -= shift;
          e[last] = 0;
          break;
        }
        sine = f / r;
        cosine = g / r;
        g = d[i + 1] - shift;
        const change = (d[i] - g) * sine + 2 * cosine * b;
        shift = sine * change;
        d[i + 1] = g + shift;
        g = cosine * change - b;
        if (basis) turn(basis[i], basis[i + 1], sine, cosine);
      }
      if (i >= first) continue;
      d[first] -= shift;
      e[first] = g;
      e[last] = 0;
    }
  }
}

/** @param {Float64Array} x @param {Float64Array} y @param {number} sine @param {number} cosine */
function turn(x, y, sine, cosine) {
  for (let k = 0; k < x.length; k++) {
    const other = y[k];
    y[k] = sine * x[k] + cosine * other;
    x[k] = cosine * x[k] - sine * other;
  }
}
