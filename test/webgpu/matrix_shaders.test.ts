/** The WGSL of the half-precision kernels, compiled by Dawn's null backend with float16 and subgroup matrices switched on. */
import {
  conversionPays,
  matrixArrays,
  matrixBytes,
  matrixConstants,
  matrixTileRows,
  matrixTiles,
} from '../../kernels/matrix_tiling';
import type {MatrixChoice, MatrixLimits, MatrixShape, MatrixTiles} from '../../kernels/matrix_tiling';
import {laneTiles} from '../../kernels/tiling';
import {shaderSource} from '../../kernels/webgpu/shader';
import type {Binding} from '../../kernels/webgpu/shader';
import matrixProbe from '../../kernels/webgpu/matrix_probe.wgsl';
import {checkShader, describeWith, openNullDevice} from '../harness/node';
import {inOneArray, workgroupArrays} from './workgroup_arrays';

const FLAGS = [
  'HAS_BIAS', 'HAS_MASK', 'HAS_ALIBI', 'HAS_LENGTHS', 'HAS_OFFSETS', 'HAS_SEGMENTS', 'HAS_SINKS', 'HAS_SOFTCAP', 'HAS_DROPOUT',
  'SEEN_AS_HALVES',
  'SPLIT',
]; // prettier-ignore
const SIXTEEN: MatrixShape = {M: 16, N: 16, K: 16};
const EIGHT: MatrixShape = {M: 8, N: 8, K: 8};
const MIXED: MatrixShape = {M: 8, N: 16, K: 16};
const LARGE: MatrixLimits = {shapes: [SIXTEEN], subgroup: 32, storage: 49152, storageBuffers: 16, invocations: 1024};
const SMALL: MatrixLimits = {...LARGE, storage: 16384, invocations: 256};

const widths = [
  [64, 64],
  [59, 128],
  [80, 80],
  [128, 128],
] as const;

function bindings(D: number, Dv: number, all: boolean): Binding[] {
  const row = (name: string, width: number): Binding => ({name, kind: 'row', width, access: 'read'});
  return [
    row('q', D),
    row('k', D),
    row('v', Dv),
    {name: 'bias', kind: all ? 'f32' : 'absent', access: 'read'},
    {name: 'mask', kind: all ? 'i32' : 'absent', access: 'read'},
    {name: 'small', kind: all ? 'i32' : 'absent', access: 'read'},
    {...row('output', Dv), access: 'read_write'},
    {name: 'lse', kind: 'f32', access: 'read_write'},
  ];
}

const options = (all: boolean) => Object.fromEntries(FLAGS.map(name => [name, all]));

function matrixSource(
  limits: MatrixLimits,
  D: number,
  Dv: number,
  pairs: boolean,
  all: boolean,
  wanted?: MatrixChoice,
  converted = false,
) {
  const tiles = matrixTiles(D, Dv, pairs, limits, wanted);
  if (typeof tiles === 'string') throw new Error(tiles);
  const constants = {D, DV: Dv, ...options(all), ...matrixConstants(tiles, D, Dv, converted)};
  const exchange = tiles.rows < tiles.subgroup ? 'subgroup' : 'single';
  const inTiles: Binding[] = converted ? [{name: 'tiles', kind: 'KeyTile', access: 'read'}] : [];
  return shaderSource({kernel: 'forwardMatrix', exchange, constants, bindings: [...bindings(D, Dv, all), ...inTiles]});
}

function convertSource(limits: MatrixLimits, D: number, Dv: number, pairs: boolean): string {
  const tiles = matrixTiles(D, Dv, pairs, limits);
  if (typeof tiles === 'string') throw new Error(tiles);
  const own = {LANES: 1, ROWS: 1, BLOCK: 1, THREADS: 128};
  const constants = {D, DV: Dv, ...options(false), ...matrixConstants(tiles, D, Dv, true), ...own};
  const [, k, v, ...absent] = bindings(D, Dv, false).slice(0, 6);
  const target: Binding = {name: 'tiles', kind: 'KeyTile', access: 'read_write'};
  return shaderSource({kernel: 'convert', exchange: 'single', constants, bindings: [k, v, ...absent, target]});
}

describeWith(['dawn'], 'half-precision WGSL on the null backend', () => {
  let device: GPUDevice;
  beforeAll(async () => {
    device = await openNullDevice([
      'shader-f16',
      'subgroups',
      'chromium-experimental-subgroup-matrix' as GPUFeatureName,
    ]);
  });
  afterAll(() => device.destroy());

  for (const pairs of [false, true]) {
    const precision = pairs ? 'float16x2' : 'float16';
    for (const limits of [LARGE, {...SMALL, shapes: [EIGHT]}, {...LARGE, shapes: [MIXED], subgroup: 16}]) {
      const [{M, N, K}] = limits.shapes;
      it(`${precision}, matrices of ${M}×${N}×${K} on subgroups of ${limits.subgroup}`, async () => {
        for (const [D, Dv] of widths) {
          for (const all of [false, true]) {
            await checkShader(device, matrixSource(limits, D, Dv, pairs, all));
            await checkShader(device, matrixSource(limits, D, Dv, pairs, all, undefined, true));
          }
          await checkShader(device, convertSource(limits, D, Dv, pairs));
        }
      });
    }
  }

  it('the probe by which a device is asked', async () => {
    await checkShader(device, matrixProbe);
    await expect(checkShader(device, matrixProbe.replace('row_major', 'old_form'))).rejects.toThrow(/old_form/);
  });

  it('whatever the number of rows, keys and subgroups', async () => {
    for (const rows of [16, 32, 64]) {
      for (const prefetch of [false, true]) {
        const wanted = {subgroups: 2, rows, keys: 32, prefetch};
        await checkShader(device, matrixSource(LARGE, 64, 64, false, false, wanted));
      }
    }
  });

  it('lanes with tiles of float16', async () => {
    for (const subgroup of [0, 4, 32]) {
      const limits = {storage: 16384, invocations: 256, subgroup, software: false};
      for (const [D, Dv] of widths) {
        const {lanes, rows, threads, keys, block, exchange} = laneTiles(D, Dv, 'forward', limits, true)!;
        const constants = {
          D, DV: Dv, ...options(true), LANES: lanes, ROWS: rows, THREADS: threads, KEYS: keys, BLOCK: block,
        }; // prettier-ignore
        await checkShader(
          device,
          shaderSource({kernel: 'forwardHalf', exchange, constants, bindings: bindings(D, Dv, true)}),
        );
      }
    }
  });
});

describe('tiles of matrices', () => {
  it('fit the device at every width that they serve', () => {
    for (const limits of [LARGE, SMALL, {...SMALL, shapes: [EIGHT]}, {...LARGE, subgroup: 64}]) {
      for (const pairs of [false, true]) {
        for (let D = 1; D <= 300; D += 3) {
          const tiles = matrixTiles(D, D, pairs, limits);
          if (typeof tiles === 'string') continue;
          expect(matrixBytes(tiles, D, D)).toBeLessThanOrEqual(limits.storage);
          expect(tiles.subgroups * tiles.subgroup).toBeLessThanOrEqual(limits.invocations);
          for (const converted of [false, true]) {
            const values = Object.values(matrixConstants(tiles, D, D, converted));
            expect(values.filter(value => Number(value) % 1 !== 0)).toEqual([]);
          }
        }
      }
    }
  });

  it('are the arrays in the kernel’s text, byte for byte', () => {
    for (const limits of [LARGE, SMALL, {...SMALL, shapes: [EIGHT]}, {...LARGE, shapes: [MIXED], subgroup: 16}]) {
      for (const pairs of [false, true]) {
        for (const [D, Dv] of [...widths, [8, 24] as const]) {
          const tiles = matrixTiles(D, Dv, pairs, limits);
          if (typeof tiles === 'string') continue;
          const wgsl = matrixSource(limits, D, Dv, pairs, false);
          expect(inOneArray(matrixArrays(tiles, D, Dv))).toEqual(workgroupArrays(wgsl));
        }
      }
    }
  });

  it('serve up to 128 numbers a row with 48 KiB and 64 with 16 KiB', () => {
    for (const pairs of [false, true]) {
      for (const D of [1, 32, 64, 80, 128]) expect(matrixTiles(D, D, pairs, LARGE)).toMatchObject({pairs});
      for (const D of [1, 32, 64]) expect(matrixTiles(D, D, pairs, SMALL)).toMatchObject({pairs});
    }
  });

  it('are converted once where many queries read them and the call is large', () => {
    const tiles = matrixTiles(64, 64, false, LARGE) as MatrixTiles;
    const rows = 16 * matrixTileRows(tiles);
    const pairs = {...tiles, pairs: true};
    expect(conversionPays(tiles, 128, rows, 2 ** 35)).toBe(true);
    expect(conversionPays(tiles, 128, rows - 1, 2 ** 40)).toBe(false);
    expect(conversionPays(tiles, 128, 2 * rows, 2 ** 35 - 1)).toBe(false);
    expect(conversionPays(pairs, 64, rows, 2 ** 34)).toBe(true);
    expect(conversionPays(pairs, 65, rows, 2 ** 40)).toBe(false);
  });

  it('are refused with the reason', () => {
    expect(matrixTiles(64, 64, false, {...LARGE, shapes: []})).toMatch(/no subgroup matrices of float16/);
    expect(matrixTiles(64, 64, false, {...LARGE, subgroup: 0})).toMatch(/subgroups varies/);
    expect(matrixTiles(1024, 1024, false, LARGE)).toMatch(/rows of 1024 numbers exceed/);
  });
});
