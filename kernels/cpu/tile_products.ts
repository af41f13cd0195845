/**
 * Products of small tiles in float64, blocked 4 × 2 so that every loaded number is used several times. All tiles are
 * row-major and padded with zeros to a multiple of 4 rows and of 4 columns, so no loop has a remainder.
 */

/** n rounded up to the block size that every padded tile obeys. */
export function padded(n: number): number {
  return (n + 3) & ~3;
}

/**
 * Copies `rows` rows of `width` numbers, times `factor`, into a tile with padded rows and columns of zeros.
 * @param base index of the first number; `rowStride` numbers lie from one row to the next.
 */
export function loadTile(
  tile: Float64Array,
  source: ArrayLike<number>,
  base: number,
  rowStride: number,
  rows: number,
  width: number,
  factor: number,
): void {
  const tileWidth = padded(width);
  tile.fill(0, 0, padded(rows) * tileWidth);
  for (let r = 0; r < rows; r++) {
    const from = base + r * rowStride;
    const to = r * tileWidth;
    for (let d = 0; d < width; d++) tile[to + d] = source[from + d] * factor;
  }
}

/** out[r, j] = Σ_d a[r, d] · b[j, d]; out has `columns` numbers a row. */
export function multiplyTransposed(
  a: Float64Array,
  b: Float64Array,
  out: Float64Array,
  rows: number,
  columns: number,
  depth: number,
): void {
  for (let r = 0; r < rows; r += 4) {
    const a0 = r * depth;
    const a1 = a0 + depth;
    const a2 = a1 + depth;
    const a3 = a2 + depth;
    for (let j = 0; j < columns; j += 2) {
      const b0 = j * depth;
      const b1 = b0 + depth;
      let s00 = 0, s01 = 0, s10 = 0, s11 = 0, s20 = 0, s21 = 0, s30 = 0, s31 = 0; // prettier-ignore
      for (let d = 0; d < depth; d++) {
        const y0 = b[b0 + d];
        const y1 = b[b1 + d];
        const x0 = a[a0 + d];
        s00 += x0 * y0;
        s01 += x0 * y1;
        const x1 = a[a1 + d];
        s10 += x1 * y0;
        s11 += x1 * y1;
        const x2 = a[a2 + d];
        s20 += x2 * y0;
        s21 += x2 * y1;
        const x3 = a[a3 + d];
        s30 += x3 * y0;
        s31 += x3 * y1;
      }
      const to = r * columns + j;
      out[to] = s00;
      out[to + 1] = s01;
      out[to + columns] = s10;
      out[to + columns + 1] = s11;
      out[to + 2 * columns] = s20;
      out[to + 2 * columns + 1] = s21;
      out[to + 3 * columns] = s30;
      out[to + 3 * columns + 1] = s31;
    }
  }
}

/** out[r, c] += Σ_j p[r, j] · x[j, c] for `depth` j; p has `depth` numbers a row, x and out have `columns`. */
export function addProduct(
  p: Float64Array,
  x: Float64Array,
  out: Float64Array,
  rows: number,
  columns: number,
  depth: number,
): void {
  addBlocks(p, depth, 1, x, out, rows, columns, depth);
}

/** out[j, c] += Σ_r p[r, j] · x[r, c]: the product with p transposed; p has `rows` numbers a row. */
export function addTransposedProduct(
  p: Float64Array,
  x: Float64Array,
  out: Float64Array,
  rows: number,
  columns: number,
  depth: number,
): void {
  addBlocks(p, 1, rows, x, out, rows, columns, depth);
}

/** out[r, c] += Σ_j p[r · pRow + j · pColumn] · x[j, c]. */
function addBlocks(
  p: Float64Array,
  pRow: number,
  pColumn: number,
  x: Float64Array,
  out: Float64Array,
  rows: number,
  columns: number,
  depth: number,
): void {
  for (let r = 0; r < rows; r += 4) {
    const p0 = r * pRow;
    const p1 = p0 + pRow;
    const p2 = p1 + pRow;
    const p3 = p2 + pRow;
    for (let c = 0; c < columns; c += 2) {
      const o0 = r * columns + c;
      const o1 = o0 + columns;
      const o2 = o1 + columns;
      const o3 = o2 + columns;
      let s00 = out[o0], s01 = out[o0 + 1], s10 = out[o1], s11 = out[o1 + 1]; // prettier-ignore
      let s20 = out[o2], s21 = out[o2 + 1], s30 = out[o3], s31 = out[o3 + 1]; // prettier-ignore
      for (let j = 0, at = 0, from = c; j < depth; j++, at += pColumn, from += columns) {
        const x0 = x[from];
        const x1 = x[from + 1];
        const w0 = p[p0 + at];
        s00 += w0 * x0;
        s01 += w0 * x1;
        const w1 = p[p1 + at];
        s10 += w1 * x0;
        s11 += w1 * x1;
        const w2 = p[p2 + at];
        s20 += w2 * x0;
        s21 += w2 * x1;
        const w3 = p[p3 + at];
        s30 += w3 * x0;
        s31 += w3 * x1;
      }
      out[o0] = s00;
      out[o0 + 1] = s01;
      out[o1] = s10;
      out[o1 + 1] = s11;
      out[o2] = s20;
      out[o2 + 1] = s21;
      out[o3] = s30;
      out[o3 + 1] = s31;
    }
  }
}
