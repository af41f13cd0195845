/** The comparison verifies before it times, its columns add up, and the tables of the pages are those of the saved results. */
import {spawnSync} from 'node:child_process';
import {pages, readPage, ROOT} from '../documents/code_blocks';
import {referenceAttention} from '../reference';
import {attentionCase} from '../cases';
import {canTellPeak} from '../peak_memory';
import {savedGraphResult, withFusedTables} from './graph_results';
import type {GraphResult} from './graph_results';
import {resultsShown, savedResults, withTables} from './compare/markdown';
import {inputsOf} from './compare/numbers';
import {flopsOf} from './compare/result';
import type {Problem, Result} from './compare/result';
import {verifierOf} from './compare/verify';

function bench(...args: string[]) {
  const {status, stdout, stderr} = spawnSync(process.execPath, ['.ci/bench.mjs', ...args], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  return {status, stdout, stderr};
}

const cell = (text: string): string => text.replaceAll(/ +/g, ' ');

describe('npm run bench', () => {
  it('verifies, then compares everybody on a backend', () => {
    const {status, stdout, stderr} = bench('--backend', 'cpu', '--sizes', '24', '--heads', '2', '--width', '8', '--rounds', '3', '--pass', 'forward', '--json'); // prettier-ignore
    expect({status, verified: stderr.startsWith('All results match.\n')}).toEqual({status: 0, verified: true});
    const result = JSON.parse(stdout) as Result;
    expect(result.command).toMatch('npm run bench -- --backend cpu');
    const names = result.rows.map(({contestant}) => contestant);
    expect(names).toEqual(expect.arrayContaining(['flash, simd', 'flash, loops', 'flash, composed', 'chain']));
    for (const row of result.rows) {
      const chain = result.rows.find(({pass, contestant}) => pass === row.pass && contestant === 'chain')!;
      expect(row.timesChain).toBeCloseTo(chain.ms / row.ms, 10);
      expect(row.gflops).toBeCloseTo(flopsOf(row) / row.ms / 1e6, 10);
      expect(row.lower).toBeLessThanOrEqual(row.ms);
      expect(row.ms).toBeLessThanOrEqual(row.upper);
      if (canTellPeak()) expect(row.megabytes).toBeGreaterThanOrEqual(0);
    }
    const predicted = result.rows.filter(row => row.predicted).map(({pass, implementation}) => [pass, implementation]);
    expect(predicted).toContainEqual(['forward', 'simd']);
  }, 120_000);

  it.each([
    [['--backend', 'tpu'], /tpu/],
    [['--sizes', '0'], /positive integer/],
    [['nothing'], /Usage: npm run bench -- \[options\] \| <cache \| cpu/],
  ])('refuses %j with status 2', (args, words) => {
    const {status, stderr} = bench(...args);
    expect(status).toBe(2);
    expect(stderr).toMatch(words);
  });

  it('times an encoder as converted and fused, verified, each case in a process of its own', () => {
    const {status, stdout, stderr} = bench('graph', 'encoders', '--backend', 'cpu', '--style', 'bert', '--positions', '8', '--width', '64', '--seconds', '0.01', '--json'); // prettier-ignore
    expect(stderr).toMatch(/^cpu, bert, 8 positions, 1 × 64: 1 of 1 fused, .* ms as converted, .* ms fused, .*×/);
    expect(status).toBe(0);
    const {rows, leftOut} = JSON.parse(stdout) as GraphResult;
    expect(leftOut).toEqual([]);
    const [{plain, fusedTiming, speed, difference}] = rows;
    expect(speed).toBeCloseTo(plain!.ms / fusedTiming.ms, 10);
    expect(difference).toBeLessThan(1e-3);
    expect(bench('graph', 'nothing').status).not.toBe(0);
  }, 60_000);

  it('lists the other questions in its help', () => {
    const {status, stdout} = bench('--help');
    expect(status).toBe(0);
    expect(cell(stdout)).toMatch(/Other questions .* cache \| cpu \| graph/s);
  });
});

describe('verification', () => {
  const problem: Problem = {pass: 'forward', H: 2, N: 24, D: 4};
  const reference = (): Float32Array => {
    const {H, N, D} = problem;
    const array = (values: Float32Array) => ({shape: [1, H, N, D], dtype: 'float32' as const, values});
    const {q, k, v} = inputsOf(problem);
    return Float32Array.from(
      referenceAttention(attentionCase('whole', {H, Sq: N, Sk: N, D}), {q: array(q), k: array(k), v: array(v)}).output,
    );
  };

  it('takes what is right and refuses what is not', () => {
    const verifier = verifierOf(problem);
    const output = reference();
    expect(() => verifier.output('right', output)).not.toThrow();
    output[3] += 1e-3;
    expect(() => verifier.output('wrong', output)).toThrow('wrong, forward, N 24');
  });

  it('sees a gradient that is off', () => {
    const verifier = verifierOf({...problem, pass: 'backward'});
    const zeros = [1, 2, 3].map(() => new Float32Array(2 * 24 * 4));
    expect(() => verifier.gradients('zeros', zeros)).toThrow('zeros, backward, N 24: dq');
  });
});

(canTellPeak() ? it : it.skip)('the memory measured is that of the run, and not of what went before', () => {
  const {status, stdout} = bench('peak_of_allocation');
  expect(status).toBe(0);
  expect(Number(stdout)).toBeGreaterThan(38);
  expect(Number(stdout)).toBeLessThan(60);
});

describe('the tables of the pages', () => {
  const results = savedResults();

  it.each(pages())('%s shows what was measured', page => {
    const text = readPage(page);
    expect(withFusedTables(withTables(text, results), savedGraphResult)).toBe(text);
  });

  it('of fused models take their speeds from the saved result, and stay as they are without one', () => {
    const timing = (ms: number) => ({name: '', ms, fastest: ms, slowest: ms});
    const row = {backend: 'wasm', found: 2, difference: 0, verifiedBy: '', rounds: 3};
    const result: GraphResult = {
      command: 'npm run bench -- graph', date: '2026-01-02', leftOut: ['cpu, keras: more than 9 s'],
      machine: {cpu: 'c', cores: 2, system: 's'}, versions: {node: 'v20'},
      rows: [
        {...row, model: 'bert', fused: 2, plain: timing(6), fusedTiming: timing(4), speed: 1.5, positions: 8, layers: 1, width: 64},
        {...row, model: 'keras', fused: 2, plainFails: 'no Einsum', fusedTiming: timing(5), positions: 8, layers: 1, width: 64},
        {...row, model: 'additive', fused: 0, plain: timing(6), fusedTiming: timing(6), speed: 1},
      ],
    }; // prettier-ignore
    const models =
      '<!-- fused: models -->\n\n| model | in | found |\n| --- | --- | --- |\n| A | `bert` | 2 |\n| B | `keras` | 2 |\n| C | `additive` | 2 |\n\n<!-- end of fused -->';
    expect(withFusedTables(models, () => null)).toBe(models);
    const once = withFusedTables(models, () => result);
    const cells = cell(once);
    expect(cells).toMatch('| model | in | found | speed on `wasm` |');
    for (const line of ['| A | `bert` | 2 | 1.5× |', '| B | `keras` | 2 | only fused |', '| C | `additive` | 2 | – |']) expect(cells).toMatch(line); // prettier-ignore
    expect(cells).toMatch('Left out: cpu, keras: more than 9 s.');
    expect(withFusedTables(once, () => result)).toBe(once);
    const encoders = cell(withFusedTables('<!-- fused: encoders -->\n<!-- end of fused -->', () => result));
    expect(encoders).toMatch('| BERT | `wasm` | 8 | 1 × 64 | 6 ms | 4 ms | 1.5× |');
    expect(encoders).toMatch('| Keras MultiHeadAttention | `wasm` | 8 | 1 × 64 | does not run | 5 ms | only fused |');
  });

  it('a figure that changes is seen', () => {
    const [name, result] = [...results][0];
    const [row, ...rest] = result.rows;
    const changed = new Map(results).set(name, {...result, rows: [{...row, ms: row.ms * 1.5}, ...rest]});
    const page = readPage('docs/benchmarks.md');
    expect(withTables(page, changed)).not.toBe(page);
  });

  it('show every saved result, each with its machine, versions and command', () => {
    const shown = pages().flatMap(page => resultsShown(readPage(page)));
    expect(new Set(shown)).toEqual(new Set(results.keys()));
    for (const [name, {command, date, machine, versions}] of results) {
      expect(command).toMatch(new RegExp(`^npm run bench -- .*--save ${name}$`));
      expect(date).toMatch(/^\d{4}-\d\d-\d\d$/);
      expect(machine).toMatchObject({cpu: expect.any(String), cores: expect.any(Number), system: expect.any(String)});
      expect(Object.keys(versions)).toEqual(expect.arrayContaining(['node', '@tensorflow/tfjs-core']));
    }
  });

  it('an unknown table or result is an error', () => {
    const page = (marker: string) => `<!-- table: ${marker} -->\n<!-- end of table -->`;
    expect(() => withTables(page('nothing'), results)).toThrow(`there is no table 'nothing'`);
    expect(() => withTables(page('comparison nothing'), results)).toThrow(`there is no result 'nothing'`);
  });
});
