/** The comparison that all tests rely on must itself be able to fail. */
import {allowance, expectClose, expectSameBits, magnitude, worstDeviation} from './closeness';

it('NaN meets NaN only', () => {
  expectClose('x', [NaN, 1], [NaN, 1], 0);
  expect(() => expectClose('x', [NaN, 1], [0, 1], 1e9)).toThrow('x[0] is NaN, reference 0');
  expect(() => expectClose('x', [0, 1], [NaN, 1], 1e9)).toThrow('x[0] is 0, reference NaN');
  expect(() => expectClose('x', [NaN], [Infinity], 1e9)).toThrow('x[0] is NaN, reference Infinity');
});

it('infinities meet their like only', () => {
  expectClose('x', [Infinity, -Infinity], [Infinity, -Infinity], 0);
  expect(() => expectClose('x', [Infinity], [-Infinity], 1e9)).toThrow('error Infinity');
  expect(() => expectClose('x', [3e38], [Infinity], 1e38)).toThrow('reference Infinity');
});

it('finds the worst element and names its place', () => {
  expect(worstDeviation([1, 2, 3], [1, 2.5, 3.25])).toEqual({index: 1, error: 0.5});
  expect(worstDeviation([], [])).toEqual({index: -1, error: 0});
  expect(() => expectClose('case: output', [0, 0, 0, 0, 0, 0.5], [0, 0, 0, 0, 0, 0], 0.25, [2, 3])).toThrow(
    'case: output[1,2] is 0.5, reference 0; error 5.00e-1, allowed 2.50e-1',
  );
  expectClose('within', [0.25], [0], 0.25);
});

it('lengths must agree', () => {
  expect(() => expectClose('x', [1], [1, 2], 1)).toThrow('1 elements where the reference has 2');
  expect(() => expectSameBits('x', [1], [1, 2])).toThrow('1 elements');
});

it('an allowance that is not a number allows nothing', () => {
  expect(() => expectClose('x', [1], [1.5], NaN)).toThrow('x[0]');
});

it('same bits tell zeros apart, not NaNs', () => {
  expectSameBits('x', [NaN, 0], [NaN, 0]);
  expect(() => expectSameBits('x', [-0], [0])).toThrow('same bits');
  expect(() => expectSameBits('x', [1, 2, 3, 5], [1, 2, 3, 4], [2, 2])).toThrow('x[1,1] is 5');
});

it('follows the contract’s tolerance', () => {
  expect(magnitude([0.5, -0.25])).toBe(1);
  expect(magnitude([0.5, -8, NaN, -Infinity])).toBe(8);
  expect(allowance('output', [1.5], [1])).toBeCloseTo(2 * 0.5 + 4e-6, 12);
  expect(allowance('gradient', [1.5, 4], [1, 4])).toBeCloseTo(3 * 0.5 + 2e-5 * 4, 12);
  expect(allowance('output', [1], [1], 1e-5)).toBeCloseTo(1e-5, 12);
});

it('a chain that fails itself allows nothing beyond the absolute term', () => {
  expect(allowance('output', [NaN], [1])).toBe(4e-6);
  expect(allowance('output', [Infinity], [1])).toBe(4e-6);
});
