/** Mutated real graphs: each is refused in one line, or fuses to a model that runs and agrees with the unfused one. */
import * as tf from '@tensorflow/tfjs-core';
import {loadGraphModel} from '@tensorflow/tfjs-converter';
import type {GraphModel} from '@tensorflow/tfjs-converter';
import * as fc from 'fast-check';
import {fuseAttention, GraphError} from 'tfjs-flash-attention/graph';
import {withBandPartsRead} from '../../src/graph/band_part';
import type {GraphDef} from '../../src/graph/graph_def';
import {FULL_TABLE} from '../harness/full_table';
import {useBackend} from '../harness/node';
import {readModelCase} from './model_case';
import {mutate, mutation} from './mutations';
import {tensorsFor} from './unpack';
import type {ModelCase} from './unpack';

useBackend('cpu');

const RUNS = Number(process.env.FUZZ_RUNS ?? (FULL_TABLE ? 25 : 12));
const MODELS = ['forms', 'keras_causal_padding', 'single_matmul_chain', 'bert', 'gpt2_mask', 'bart'];

/** Null where the model cannot run. */
async function run(model: GraphModel, inputs: ModelCase['inputs']): Promise<Float32Array[] | null> {
  const tensors = tensorsFor(model, inputs);
  try {
    const result = await model.executeAsync(tensors);
    const list = Array.isArray(result) ? result : [result];
    const values = await Promise.all(list.map(async tensor => Float32Array.from(await tensor.data())));
    tf.dispose(list);
    return values;
  } catch {
    return null;
  } finally {
    tf.dispose(tensors);
  }
}

async function load(artifacts: tf.io.ModelArtifacts): Promise<GraphModel | null> {
  try {
    return await loadGraphModel({load: () => Promise.resolve(artifacts)});
  } catch {
    return null;
  }
}

/** The largest difference relative to the largest value; rows that are not finite in the original count for nothing. */
function difference(before: Float32Array[], after: Float32Array[] | null): number {
  if (after?.length !== before.length) return Infinity;
  let worst = 0;
  before.forEach((values, n) => {
    if (values.length !== after[n].length) worst = Infinity;
    const scale = values.reduce((max, x) => (Number.isFinite(x) ? Math.max(max, Math.abs(x)) : max), 1);
    values.forEach((x, k) => {
      if (!Number.isFinite(x)) return;
      const gap = Math.abs(x - after[n][k]) / scale;
      worst = Math.max(worst, Number.isNaN(gap) ? Infinity : gap);
    });
  });
  return worst;
}

describe('mutated models', () => {
  const warn = jest.spyOn(console, 'warn').mockImplementation(() => undefined);
  afterAll(() => warn.mockRestore());
  const seen = {refused: 0, stuck: 0, unfused: 0, agreed: 0};

  it.each(MODELS)('%s: refused, or agrees with the unfused model', async name => {
    const original = readModelCase(name);
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, {minLength: 1, maxLength: 3}), async mutations => {
        const topology = structuredClone(original.artifacts.modelTopology) as GraphDef;
        const signature = structuredClone(original.artifacts.signature) as {outputs: Record<string, {name: string}>};
        for (const each of mutations) if (topology.node.length > 0) mutate(topology, signature.outputs, each);
        const artifacts = {...original.artifacts, modelTopology: topology, signature};
        let fused: tf.io.ModelArtifacts;
        try {
          const result = fuseAttention(artifacts);
          if (result.report.fused === 0) return void seen.unfused++;
          fused = result.artifacts;
        } catch (error) {
          expect(error).toBeInstanceOf(GraphError);
          expect((error as Error).message).not.toContain('\n');
          return void seen.refused++;
        }
        const plain = await load({...artifacts, modelTopology: {...topology, node: withBandPartsRead(topology.node)}});
        const before = plain && (await run(plain, original.inputs));
        if (!before) return void seen.stuck++;
        const model = await load(fused);
        expect(difference(before, model && (await run(model, original.inputs)))).toBeLessThan(1e-3);
        plain.dispose();
        model?.dispose();
        seen.agreed++;
      }),
      {numRuns: RUNS, seed: 20240607, endOnFailure: false},
    );
  });

  it('ran enough of them', () => {
    console.info(`mutated graphs: ${JSON.stringify(seen)}`);
    expect(seen.agreed).toBeGreaterThan(RUNS);
  });
});
