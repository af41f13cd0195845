/** The WGSL of every kernel with every kind of input, compiled by Dawn's null backend, and what a pipeline's key depends on. */
import {bytesOf, decodeTiles, laneArrays, laneTiles} from '../../kernels/tiling';
import type {LaneTiles, WorkgroupLimits} from '../../kernels/tiling';
import {shaderSource} from '../../kernels/webgpu/shader';
import type {Binding, Exchange, KernelName} from '../../kernels/webgpu/shader';
import {unroll} from '../../kernels/webgpu/unroll';
import {checkShader, describeWith, openNullDevice} from '../harness/node';

const SMALL: WorkgroupLimits = {storage: 16384, invocations: 256, subgroup: 0, software: false};
const LARGE: WorkgroupLimits = {storage: 49152, invocations: 1024, subgroup: 32, software: false};
const TINY_SUBGROUPS: WorkgroupLimits = {storage: 32768, invocations: 256, subgroup: 4, software: false};

const FLAGS = [
  'HAS_BIAS', 'HAS_MASK', 'HAS_ALIBI', 'HAS_LENGTHS', 'HAS_OFFSETS', 'HAS_SEGMENTS', 'HAS_SINKS', 'HAS_SOFTCAP', 'HAS_DROPOUT',
  'SEEN_AS_HALVES',
]; // prettier-ignore

function source(kernel: KernelName, exchange: Exchange, tiles: LaneTiles, D: number, Dv: number, all: boolean): string {
  const row = (name: string, width: number, access: Binding['access'] = 'read'): Binding => ({
    name,
    kind: 'row',
    width,
    access,
  });
  const plain = (name: string, access: Binding['access'] = 'read'): Binding => ({name, kind: 'f32', access});
  const inputs = [row('q', D), row('k', D), row('v', Dv)];
  const options: Binding[] = [
    {name: 'bias', kind: all ? 'f32' : 'absent', access: 'read'},
    {name: 'mask', kind: all ? 'i32' : 'absent', access: 'read'},
    {name: 'small', kind: all ? 'i32' : 'absent', access: 'read'},
  ];
  const write = 'read_write';
  const own: Record<KernelName, Binding[]> = {
    forward: [...inputs, row('output', Dv, write), plain('lse', write)],
    forwardHalf: [...inputs, row('output', Dv, write), plain('lse', write)],
    forwardMatrix: [...inputs, row('output', Dv, write), plain('lse', write)],
    convert: [...inputs],
    decode: [...inputs, row('output', Dv, write), plain('lse', write)],
    merge: [row('part', Dv), plain('partMax'), row('output', Dv, write), plain('lse', write), plain('lseLow', write)],
    delta: [row('output', Dv), row('dOutput', Dv), plain('dLse'), plain('rowValues', write)],
    backwardQ: [...inputs, row('dOutput', Dv), row('dq', D, write)],
    backwardKV: [...inputs, row('dOutput', Dv), row('dk', D, write), row('dv', Dv, write)],
    backwardBias: [...inputs.map(({name}) => plain(name)), plain('dOutput'), plain('parts', write)],
    backwardSinks: [plain('dSinks', write)],
    sumParts: [plain('parts'), plain('result', write)],
    softmax: [plain('logits'), plain('result', write)],
  };
  return shaderSource({
    kernel,
    exchange,
    constants: {
      D, DV: Dv, SPLIT: false, ROW_GROUPS: 1, PER_BATCH: true, PER_HEAD: false, PER_ROW: true, PER_KEY: false,
      LANES: tiles.lanes, ROWS: tiles.rows, THREADS: tiles.threads, KEYS: tiles.keys, BLOCK: tiles.block,
      ...Object.fromEntries(FLAGS.map(name => [name, all])),
    },
    bindings: [...own[kernel], ...options],
  }); // prettier-ignore
}

describeWith(['dawn'], 'WGSL on the null backend', () => {
  let device: GPUDevice;
  beforeAll(async () => {
    device = await openNullDevice(['subgroups']);
  });
  afterAll(() => device.destroy());

  for (const limits of [SMALL, TINY_SUBGROUPS, LARGE]) {
    for (const [D, Dv] of [
      [64, 64],
      [59, 128],
      [256, 8],
    ]) {
      for (const all of [false, true]) {
        it(`forward and backward, subgroups of ${limits.subgroup}, widths ${D} and ${Dv}, options ${all}`, async () => {
          const forward = laneTiles(D, Dv, 'forward', limits)!;
          const [q, kv] = (['backwardQ', 'backwardKV'] as const).map(pass => laneTiles(D, Dv, pass, limits)!);
          await checkShader(device, source('forward', forward.exchange, forward, D, Dv, all));
          await checkShader(device, source('backwardQ', q.exchange, q, D, Dv, all));
          await checkShader(device, source('backwardKV', kv.exchange, kv, D, Dv, all));
          if (limits.subgroup === 0) return;
          const decode = decodeTiles(D, Dv, 4, limits)!;
          await checkShader(device, source('decode', decode.exchange, decode, D, Dv, all));
        });
      }
    }
  }

  it('the kernels whose invocations share no rows', async () => {
    const tiles: LaneTiles = {lanes: 1, rows: 1, threads: 256, keys: 1, block: 1, exchange: 'single'};
    for (const kernel of ['merge', 'delta', 'backwardBias', 'backwardSinks', 'sumParts', 'softmax'] as const) {
      await checkShader(device, source(kernel, 'single', tiles, 64, 59, true));
    }
  });
});

describe('tiles', () => {
  it('fit the device at every width, down to 16 KiB and no subgroups', () => {
    for (const limits of [SMALL, TINY_SUBGROUPS, LARGE]) {
      for (let width = 1; width <= 1024; width++) {
        for (const pass of ['forward', 'backwardQ', 'backwardKV'] as const) {
          const tiles = laneTiles(width, width, pass, limits)!;
          expect(bytesOf(laneArrays(tiles, width, width, pass))).toBeLessThanOrEqual(limits.storage);
          expect(tiles.keys % tiles.block).toBe(0);
          expect(tiles.threads % tiles.lanes).toBe(0);
          if (limits.subgroup > 0) expect(limits.subgroup % tiles.lanes).toBe(0);
        }
      }
    }
  });

  it('are refused where not one key fits', () => {
    expect(laneTiles(4096, 4096, 'forward', SMALL)).toBeNull();
  });
});

describe('unroll', () => {
  it('expands nested loops and replaces bounds by their values', () => {
    const text =
      'a\nfor (var r = 0u; r < ROWS; r++) { // unroll\nfor (var k = 0u; k < r + 1u; k++) { // unroll\nf(r, k);\n}\n}\nb';
    const expanded = unroll(text, {ROWS: 2}).replace(/\s+/g, ' ');
    expect(expanded.match(/f\(r, k\);/g)).toHaveLength(3);
    expect(expanded).toContain('const r = 1u');
    const published = unroll('a\n$r<ROWS{$k<r+1u{f(r,k);}}\nb', {ROWS: 2});
    expect(published.replace(/\s/g, '')).toBe(expanded.replace(/\s/g, ''));
  });

  it('refuses a bound that it does not know', () => {
    expect(() => unroll('for (var r = 0u; r < N; r++) { // unroll\n}', {})).toThrow(/no value for 'N'/);
  });
});
