/** The block of 4-byte fields through which a call reaches the module: assembly/problem.ts's class, field by field. */

/** In the order of the class; a test compares the two. */
export const FIELDS = [
  'q', 'k', 'v', 'bias', 'mask', 'alibiSlopes', 'keyLengths', 'queryOffsets', 'querySegments', 'keySegments', 'sinks',
  'output', 'lse', 'lseLow', 'dOutput', 'dLse', 'delta', 'dq', 'dk', 'dv', 'dbias',
  'B', 'H', 'Hkv', 'Sq', 'Sk', 'D', 'Dv',
  'qBatch', 'qHead', 'qRow', 'kBatch', 'kHead', 'kRow', 'vBatch', 'vHead', 'vRow', 'outputBatch', 'outputHead', 'outputRow',
  'biasBatch', 'biasHead', 'biasRow', 'biasKey', 'maskBatch', 'maskHead', 'maskRow', 'maskKey',
  'biasB', 'biasH', 'biasSq', 'biasSk',
  'scale', 'softcap', 'windowLeft', 'windowRight', 'queryOffset', 'alibiPerBatch', 'seed', 'dropBelow', 'keep',
  'headsPerGroup', 'blockRows', 'tileKeys', 'packKeys', 'splitKeys', 'splits', 'partial',
  'atRows', 'atQ', 'atDOutput', 'atScores', 'atGrads', 'atCap', 'atSums', 'atSums2', 'atK', 'atV',
] as const; // prettier-ignore

export type Field = (typeof FIELDS)[number];
export type Fields = Partial<Record<Field, number>>;

const FLOATS: ReadonlySet<Field> = new Set<Field>(['scale', 'softcap', 'keep']);

export const FIELD_BYTES = 4 * FIELDS.length;

/** Writes the block at byte address `at`, or those fields of it; what is not given is 0. */
export function writeFields(
  memory: WebAssembly.Memory,
  at: number,
  fields: Fields,
  names: readonly Field[] = FIELDS,
): void {
  const view = new DataView(memory.buffer, at, FIELD_BYTES);
  names.forEach(name => {
    const n = FIELDS.indexOf(name);
    const value = fields[name] ?? 0;
    if (FLOATS.has(name)) view.setFloat32(4 * n, value, true);
    else view.setUint32(4 * n, value, true); // wraps negative numbers to two's complement
  });
}
