/** The kernels' own exponential and hyperbolic tangent against float64, over their whole range, in both builds. */
import './relaxed_simd';
import {runsVariant, VARIANTS} from '../../kernels/wasm/module';
import {instantiateProbe} from '../../kernels/wasm/probe';
import type {Probe} from '../../kernels/wasm/probe';

const COUNT = 1 << 16;

function mapped(probe: Probe, memory: WebAssembly.Memory, name: 'exponential' | 'hyperbolicTangent', x: Float32Array) {
  const view = new Float32Array(memory.buffer, 64, x.length);
  view.set(x);
  probe[name](64, x.length);
  return view.slice();
}

/** COUNT values from `from` to `to`. */
const range = (from: number, to: number) =>
  Float32Array.from({length: COUNT}, (_, n) => from + ((to - from) * n) / (COUNT - 1));

describe.each(VARIANTS)('arithmetic of %s', variant => {
  let memory: WebAssembly.Memory;
  let probe: Probe;
  beforeAll(() => {
    memory = new WebAssembly.Memory({initial: 16, maximum: 16});
    probe = instantiateProbe(variant, memory);
  });

  it('runs here', () => expect(runsVariant(variant)).toBe(true));

  it.each([[-87.3, -80], [-87.3, 0], [-1, 0], [-1e-3, 1e-3], [0, 20], [0, 88]])('e^x on [%d, %d] is within 2e-7 + 1e-7 |x| of its size', (from, to) => {
    const x = range(from, to);
    const y = mapped(probe, memory, 'exponential', x);
    const worst = x.reduce((max, value, n) => {
      const error = Math.abs(y[n] / Math.exp(value) - 1);
      return Math.max(max, error / (2e-7 + 1e-7 * Math.abs(value)));
    }, 0);
    expect(worst).toBeLessThan(1);
    expect(worst).toBeGreaterThan(0.05); // the bound says something
  }); // prettier-ignore

  it('between its least normal value and 0 e^x errs by less than the least normal value', () => {
    const x = range(-88, -87.3);
    const y = mapped(probe, memory, 'exponential', x);
    expect(x.filter((value, n) => !(Math.abs(y[n] - Math.exp(value)) < 2 ** -126))).toHaveLength(0);
  });

  it('e^x is exactly 0 from −88 down to −∞, exactly 1 at 0, and NaN of NaN', () => {
    const x = Float32Array.from([0, -0, NaN, -Infinity, -88, -104, -1e10, -3.4028234e38]);
    const y = mapped(probe, memory, 'exponential', x);
    expect(Array.from(y)).toEqual([1, 1, NaN, 0, 0, 0, 0, 0]);
  });

  it.each([[-3, 0], [-88, 0], [0, 88]])('e^x on [%d, %d] never grows where x falls', (from, to) => {
    const y = mapped(probe, memory, 'exponential', range(from, to));
    const steps = y.filter((value, n) => n > 0 && value < y[n - 1] * (1 - 2e-7));
    expect(steps).toHaveLength(0);
  }); // prettier-ignore

  it.each([[-12, 12], [-0.7, 0.7], [-1e-3, 1e-3]])('tanh x on [%d, %d] is within 3e-7 of its size', (from, to) => {
    const x = range(from, to);
    const y = mapped(probe, memory, 'hyperbolicTangent', x);
    const worst = x.reduce((max, value, n) => (value === 0 ? max : Math.max(max, Math.abs(y[n] / Math.tanh(value) - 1))), 0);
    expect(worst).toBeLessThan(3e-7);
  }); // prettier-ignore

  it('tanh keeps NaN, signs and the limits', () => {
    const x = Float32Array.from([NaN, 0, Infinity, -Infinity, 1e30, -1e30, 1e-30, -1e-30]);
    const y = mapped(probe, memory, 'hyperbolicTangent', x);
    expect(Array.from(y)).toEqual([NaN, 0, 1, -1, 1, -1, Math.fround(1e-30), Math.fround(-1e-30)]);
  });
});
