/** What must not be fused stays as it was, and the report says why. */
import {fuseAttention} from 'tfjs-flash-attention/graph';
import {GraphBuilder, b, s} from './builder';
import {readModelCase} from './model_case';
import {opsOf} from './running';

/** softmax(x xᵀ) x with something done to the scores or to the probabilities. */
function around(
  change: (g: GraphBuilder, scores: string) => string,
  after?: (g: GraphBuilder, p: string) => string,
): GraphBuilder {
  const g = new GraphBuilder();
  const x = g.placeholder('x', [-1, -1, 8]);
  const probabilities = g.op('Softmax', [change(g, g.matMul(x, x, false, true))]);
  return g.output(g.matMul(after ? after(g, probabilities) : probabilities, x));
}

const same = (_: GraphBuilder, tensor: string): string => tensor;

const CASES: Array<[string, GraphBuilder, RegExp]> = [
  [
    'softmax over the queries',
    around(
      (g, t) => g.op('Transpose', [t, g.ints(0, 2, 1)]),
      (g, p) => g.op('Transpose', [p, g.ints(0, 2, 1)]),
    ),
    /another axis than the one that the product with v sums over/,
  ],
  [
    'a reduction of the probabilities',
    around(same, (g, p) => g.op('RealDiv', [p, g.op('Sum', [p, g.ints(1)], {keep_dims: b(true)})])),
    /between the softmax and a product stands RealDiv/,
  ],
  [
    'dropout as in training',
    around(same, (g, p) => g.op('Mul', [p, g.op('RandomUniform', [g.op('Shape', [p])])])),
    /between the softmax and a product stands Mul/,
  ],
  [
    'a gate on the scores',
    around((g, t) => g.op('Mul', [t, g.op('Sigmoid', [t])])),
    /multiplied by '.*', which is no known factor/,
  ],
  ['another function of the scores', around((g, t) => g.op('Relu', [t])), /the scores come from Relu/],
  [
    'a fill that hides nothing',
    around((g, t) => g.op('SelectV2', [g.op('Greater', [t, g.constant([0])]), t, g.constant([-5])])),
    /is not known to be very low/,
  ],
  [
    'masked scores multiplied by 0',
    around((g, t) => g.op('Mul', [t, g.constant([1, 0, 1, 1], [2, 2])])),
    /set to 0, which does not hide them/,
  ],
  [
    'hidden scores turned around',
    around((g, t) => g.op('Mul', [g.op('AddV2', [t, g.constant([0, -1e9, 0, 0], [2, 2])]), g.constant([-1])])),
    /turns hidden scores into large ones/,
  ],
  [
    'scores of another rank',
    around((g, t) => g.op('Mul', [t, g.constant([0.5], [1, 1, 1, 1])])),
    /gives the scores another rank/,
  ],
  [
    'a reshape of the scores that is not known to keep keys',
    around((g, t) => g.op('Reshape', [t, g.placeholder('shape', [3], 'int32')])),
    /cannot be proved to keep queries and keys/,
  ],
  ['a sum over heads with v', heads('bhij,bhjc->bic'), /sums over a batch or head axis too/],
  ['two axes of v', heads('bhij,bjcd->bhicd'), /more than one axis of its own/],
];

function heads(equation: string): GraphBuilder {
  const g = new GraphBuilder();
  const x = g.placeholder('x', [-1, 2, -1, 8]);
  const v = g.placeholder('v', [-1, 2, -1, 8]);
  const probabilities = g.op('Softmax', [g.matMul(x, x, false, true)]);
  return g.output(g.op('Einsum', [probabilities, v], {equation: s(equation)}));
}

describe('stays as it was', () => {
  it.each(CASES)('%s', (_, g, reason) => {
    const artifacts = g.artifacts();
    const {report, artifacts: result} = fuseAttention(artifacts);
    expect(report).toMatchObject({
      fused: 0,
      skipped: 1,
      sites: [{fused: false, reason: expect.stringMatching(reason) as string}],
    });
    expect(result).toBe(artifacts);
  });

  it('a classifier is no site', () => {
    const g = new GraphBuilder();
    g.output(
      g.op('Softmax', [g.op('MatMul', [g.placeholder('x', [-1, 8]), g.constant(Array<number>(24).fill(0.1), [8, 3])])]),
    );
    expect(fuseAttention(g.artifacts()).report.sites).toEqual([]);
  });

  it.each(['refused', 'keras_additive', 'probabilities_used_twice'])('model %s, node by node', name => {
    const {artifacts} = readModelCase(name);
    const {report, artifacts: result} = fuseAttention(artifacts);
    expect(report.fused).toBe(0);
    for (const {reason} of report.sites) expect(reason).toMatch(/.{20}/);
    expect(opsOf(result)).toEqual(opsOf(artifacts));
    expect(result).toBe(artifacts);
  });
});
