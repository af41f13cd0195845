/** Checks of the options that are numbers, booleans or words, and the wording of every argument error. */

/** Order of the axes of q, k, v and the output: batch, heads, sequence, width, or batch, sequence, heads, width. */
export type Layout = 'BHSD' | 'BSHD';
/**
 * What arithmetic a kernel may use where the device has it; 'float32' it always may. 'float16': half-precision products, summed in
 * float32. 'float16x2': each float32 as a pair of halves, near float32's error for values under 65504.
 */
export type Precision = 'float32' | 'float16' | 'float16x2';

/** The options of attention that are not tensors, as the caller gives them; undefined means the default. */
export interface NumberOptions {
  layout?: Layout;
  scale?: number;
  causal?: boolean;
  queryOffset?: number;
  window?: readonly [number, number];
  softcap?: number;
  dropout?: number;
  seed?: number;
  precision?: Precision;
}

const LAYOUTS: readonly Layout[] = ['BHSD', 'BSHD'];
const PRECISIONS: readonly Precision[] = ['float32', 'float16', 'float16x2'];
/** Keeps query positions plus a window inside int32. */
const MAX_OFFSET = 2 ** 30;

/** Makes the errors of one op: `Argument 'k' passed to 'flashAttention' must …, but got …`. */
export function argumentError(opName: string) {
  return (argument: string, must: string, got: readonly number[] | string): Error =>
    new Error(
      `Argument '${argument}' passed to '${opName}' must ${must}, ` +
        `but got ${typeof got === 'string' ? got : `shape [${got.join(',')}]`}.`,
    );
}

/** One value as an error message shows it. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`;
  if (Array.isArray(value)) return value.length > 8 ? `an array of length ${value.length}` : `[${value.map(shown)}]`;
  if (typeof value === 'object' && value !== null) return 'an object';
  if (typeof value === 'function') return 'a function';
  return String(value);
}

/** @throws Error naming the first option whose value cannot be used. */
export function checkOptions(opName: string, options: NumberOptions): void {
  const fail = argumentError(opName);
  const check = (name: keyof NumberOptions, must: string, ok: (value: unknown) => boolean): void => {
    const value = options[name];
    if (value !== undefined && !ok(value)) throw fail(name, must, shown(value));
  };
  const isWindow = (value: unknown): boolean =>
    Array.isArray(value) && value.length === 2 && value.every(bound => Number.isInteger(bound) && bound >= -1);

  check('layout', `be 'BHSD' or 'BSHD'`, value => LAYOUTS.includes(value as Layout));
  // As float32, which is what kernels compute with.
  const single = (value: unknown): number => (typeof value === 'number' ? Math.fround(value) : NaN);
  check('scale', 'be a finite number', value => Number.isFinite(single(value)));
  check('causal', 'be a boolean', value => typeof value === 'boolean');
  check('queryOffset', `be an integer between −2^30 and 2^30 or an int32 tensor of shape [B]`, value =>
    Number.isInteger(value) && Math.abs(value as number) <= MAX_OFFSET); // prettier-ignore
  check('window', 'be two integers [left, right], each at least −1 (−1 is unbounded)', isWindow);
  check('softcap', 'be a finite number greater than 0', value => Number.isFinite(single(value)) && single(value) > 0);
  check('dropout', 'be a number in [0, 1)', value => typeof value === 'number' && value >= 0 && value < 1);
  check('seed', 'be an integer in [0, 2^32)', value =>
    Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32); // prettier-ignore
  check('precision', `be 'float32', 'float16' or 'float16x2'`, value => PRECISIONS.includes(value as Precision));
}
