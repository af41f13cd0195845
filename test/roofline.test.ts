/** The roofline model: every number of the note it comes from, and counts of the whole op worked out by hand. */
import {MACHINES} from '../kernels/machines';
import {place, ridge, roofline, tileFor} from '../kernels/roofline';

describe('the note', () => {
  it('puts the ridge of an A100 at 312e12 / 1555e9 = 201 FLOPs per byte', () => {
    expect(MACHINES.a100).toMatchObject({flops: 312e12, bandwidth: 1555e9});
    expect(Math.round(ridge(MACHINES.a100))).toBe(201);
  });

  it.each([
    [256, 128, 64, 'memory'],
    [1024, 128, 102, 'memory'],
    [4096, 128, 120, 'memory'],
    [256, 256, 85, 'memory'],
    [1024, 256, 171, 'memory'],
    [4096, 256, 228, 'compute'],
    [256, 512, 102, 'memory'],
    [1024, 512, 256, 'compute'],
    [4096, 512, 410, 'compute'],
  ])('N %i, d %i: %i FLOPs per byte, bound by %s', (n, d, intensity, bound) => {
    const {product} = roofline({n, d});
    expect(Math.round(product.intensity)).toBe(intensity);
    expect(product.intensity).toBeCloseTo((n * n * d) / (2 * n * d + n * n), 10);
    expect(product.bound).toBe(bound);
  });

  it('has 20 MB of SRAM at 19 TB/s, 40 GB of HBM at 1.5 TB/s and DRAM at 12.8 GB/s', () => {
    const {onChip, memoryBytes, bandwidth} = MACHINES.a100;
    expect({
      bytes: onChip.bytes,
      bandwidth: onChip.bandwidth,
      memoryBytes,
    }).toEqual({
      bytes: 20e6,
      bandwidth: 19e12,
      memoryBytes: 40e9,
    });
    // The note cuts the data sheet's 1.555 after one digit.
    expect(Math.floor(bandwidth / 1e11) / 10).toBe(1.5);
    expect(MACHINES.cpu.bandwidth).toBe(12.8e9);
  });
});

describe('the whole op', () => {
  // B2 H4 Hkv2 Sq8 Sk16 D4 Dv6, 4 bytes an element, tiles of 4 queries.
  const sizes = {
    n: 16,
    queries: 8,
    d: 4,
    dv: 6,
    heads: 4,
    kvHeads: 2,
    batch: 2,
    bytesPerElement: 4,
    tile: 4,
  };

  it('counts what the three ops move: operands once, scores four times', () => {
    const operands = 4 * (2 * 4 * 8 * 4 + 2 * 2 * 16 * 4 + 2 * 2 * 16 * 6 + 2 * 4 * 8 * 6);
    const scores = 4 * (2 * 4 * 8 * 16);
    expect(roofline(sizes).unfused).toMatchObject({
      flops: 2 * (2 * 4 * 8 * 16) * (4 + 6),
      bytes: operands + 4 * scores,
      extraBytes: 2 * scores,
    });
  });

  it('counts what one kernel moves: keys and values once per tile of queries, no scores', () => {
    const queriesAndOutput = 4 * (2 * 4 * 8 * (4 + 6));
    const lse = 4 * (2 * 4 * 8);
    const keysAndValues = 4 * (2 * 4 * 2 * 16 * (4 + 6));
    expect(roofline(sizes).fused).toMatchObject({
      flops: 2 * (2 * 4 * 8 * 16) * (4 + 6),
      bytes: queriesAndOutput + lse + keysAndValues,
      onChipBytes: 4 * 4 * (2 * 4 * 8 * 16),
      extraBytes: lse,
    });
  });

  it('halves the fused work of a causal call, and not the unfused', () => {
    const all = roofline({n: 64, d: 8});
    const causal = roofline({n: 64, d: 8, causal: true});
    expect(causal.fused.flops / all.fused.flops).toBe((64 * 65) / 2 / 64 ** 2);
    expect(causal.unfused).toEqual(all.unfused);
  });

  it('lets the last of few causal queries see every key', () => {
    const {fused} = roofline({n: 10, queries: 2, d: 1, causal: true});
    expect(fused.flops).toBe(2 * (9 + 10) * 2);
  });

  it('turns a memory-bound op into a compute-bound one', () => {
    const {unfused, fused} = roofline({n: 4096, d: 64, heads: 16});
    expect(unfused.bound).toBe('memory');
    expect(fused.bound).toBe('compute');
    expect(fused.flopsPerSecond).toBeCloseTo(312e12, -6);
    expect(fused.seconds).toBeLessThan(unfused.seconds);
  });

  it('says what no longer fits main memory', () => {
    expect(roofline({n: 65536, d: 64, heads: 16}).fits).toEqual({
      unfused: false,
      fused: true,
    });
    expect(roofline({n: 4096, d: 64, heads: 16}).fits).toEqual({
      unfused: true,
      fused: true,
    });
    expect(roofline({n: 4096, d: 64, machine: 'laptop'}).fits).toBeUndefined();
  });
});

describe('place', () => {
  const machine = {
    flops: 100,
    bandwidth: 10,
    onChip: {bytes: 1, bandwidth: 50},
  };
  const work = {flops: 0, bytes: 0, onChipBytes: 0, extraBytes: 0};

  it.each([
    [{flops: 1000, bytes: 99}, 'compute', 10],
    [{flops: 1000, bytes: 100}, 'compute', 10],
    [{flops: 1000, bytes: 101}, 'memory', 10.1],
    [{flops: 1000, bytes: 10, onChipBytes: 600}, 'on-chip memory', 12],
  ])('%o: bound by %s, %d s', (given, bound, seconds) => {
    expect(place({...work, ...given}, machine)).toMatchObject({
      bound,
      seconds,
    });
  });

  it('takes no work at all', () => {
    expect(place(work, machine)).toMatchObject({
      intensity: 0,
      seconds: 0,
      flopsPerSecond: 0,
    });
  });
});

describe('tileFor', () => {
  it('fills the on-chip memory and no more', () => {
    const bytes = (tile: number) => 4 * (2 * tile * (64 + 64) + tile * tile);
    const machine = (capacity: number) => ({
      onChip: {bytes: capacity},
    });
    expect(tileFor(machine(bytes(32)), 64, 64, 4)).toBe(32);
    expect(tileFor(machine(bytes(32) - 1), 64, 64, 4)).toBe(16);
    expect(tileFor({}, 64, 64, 4)).toBe(64);
  });
});

describe('machines and errors', () => {
  it('takes a preset by name, figures of one’s own, and figures over a preset', () => {
    expect(roofline({n: 8, d: 8, machine: 'cpu'}).machine).toEqual(MACHINES.cpu);
    const own = {
      name: 'mine',
      flops: 1e9,
      bandwidth: 1e8,
      bytesPerElement: 4,
      source: 'measured',
    };
    expect(roofline({n: 8, d: 8, machine: own}).ridge).toBe(10);
    expect(roofline({n: 8, d: 8, machine: 'h100', flops: 1e12, bandwidth: 1e12}).ridge).toBe(1);
  });

  it.each([
    [{d: 8}, `Argument 'n' passed to 'roofline' must be given, but got nothing.`],
    [{n: 0, d: 8}, `Argument 'n' passed to 'roofline' must be a positive integer, but got 0.`],
    [{n: 8, d: 1.5}, `Argument 'd' passed to 'roofline' must be a positive integer, but got 1.5.`],
    [{n: 8, d: 8, flops: -1}, `Argument 'flops' passed to 'roofline' must be a positive number, but got -1.`],
    [{n: 8, d: 8, bandwidth: NaN}, `Argument 'bandwidth' passed to 'roofline' must be a positive number, but got NaN.`],
    [{n: 8, d: 8, machine: 'b200'}, `must be one of a100, h100, laptop, cpu, or figures of your own, but got 'b200'.`],
    [{n: 8, d: 8, machine: null}, `Argument 'machine' passed to 'roofline' must be one of a100, h100, laptop, cpu, or`],
    [
      {n: 8, d: 8, machine: {}},
      `Argument 'machine.flops' passed to 'roofline' must be a positive number, but got undefined.`,
    ],
    [undefined, `Argument 'options' passed to 'roofline' must be an object of options, but got undefined.`],
    [{n: 8, d: 8, machine: {flops: 1}}, `Argument 'machine.bandwidth' passed to 'roofline' must be a positive number`],
    [{n: 8, d: 8, causal: 1}, `Argument 'causal' passed to 'roofline' must be a boolean, but got 1.`],
    [{n: 8, d: 8, heads: 6, kvHeads: 4}, `Argument 'kvHeads' passed to 'roofline' must divide heads (6), but got 4.`],
    [{n: 8, d: 8, head: 6}, `Argument 'head' passed to 'roofline' must be one of n, d, queries`],
  ])('%o: %s', (options, message) => {
    expect(() => roofline(options as never)).toThrow(message);
  });
});
