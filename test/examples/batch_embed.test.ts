/** examples/batch-embed as scripts use it: results, broken lines, a run that is killed and resumed, threads, Spark. */
import {execFileSync, spawn, spawnSync} from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

const ROOT = join(__dirname, '../..');
const CACHE = join(ROOT, 'node_modules/.cache/tfjs-flash-attention');
const BUNDLE = join(CACHE, 'programs/examples/batch-embed/main.cjs');
const PYTHON = join(CACHE, 'spark/bin/python');

const WORDS = 'the a ship came home light sea wind boy lamp keeper bell star window gull stairs'.split(' ');
const LINES = Array.from({length: 90}, (_, n) => {
  if (n === 20) return '{"id": "n20", "text": ';
  if (n === 21) return '{"id": "n21"}';
  const text = Array.from({length: 1 + ((n * 5) % 13)}, (_unused, i) => WORDS[(n * i * 7 + i) % WORDS.length]).join(
    ' ',
  );
  return JSON.stringify({id: `n${n}`, text});
});

const folder = mkdtempSync(join(tmpdir(), 'batch-embed-'));
const file = (name: string): string => join(folder, name);
const input = file('in.jsonl');
const common = ['--in', input, '--backend', 'wasm', '--window', '16'];

function run(...args: string[]): {status: number | null; stdout: string; stderr: string} {
  return spawnSync(process.execPath, [BUNDLE, ...args], {encoding: 'utf8', maxBuffer: 1 << 28});
}

beforeAll(() => {
  writeFileSync(input, `${LINES.join('\n')}\n`);
  // The first run bundles; the others start the bundle itself, so that a signal reaches it.
  execFileSync(
    process.execPath,
    [join(ROOT, '.ci/example.mjs'), 'batch-embed', ...common, '--out', file('whole.jsonl')],
    {stdio: 'pipe'},
  );
});
afterAll(() => rmSync(folder, {recursive: true}));

const whole = (): string => readFileSync(file('whole.jsonl'), 'utf8');

describe('the example batch-embed', () => {
  it('writes one embedding of length 1 for each good line, in order', () => {
    const results = whole().trimEnd().split('\n').map(line => JSON.parse(line) as {id: string; embedding: number[]}); // prettier-ignore
    expect(results.map(({id}) => id)).toEqual(LINES.map((_, n) => `n${n}`).filter(id => id !== 'n20' && id !== 'n21'));
    for (const {embedding} of results) {
      expect(embedding).toHaveLength(512);
      expect(Math.hypot(...embedding)).toBeCloseTo(1, 4);
    }
  });

  it('reports broken lines with their numbers; reads stdin, writes stdout', () => {
    const {status, stdout, stderr} = spawnSync(process.execPath, [BUNDLE, ...common.slice(2)], {input: readFileSync(input), encoding: 'utf8', maxBuffer: 1 << 28}); // prettier-ignore
    expect(status).toBe(0);
    expect(stdout).toBe(whole());
    expect(stderr).toContain('batch-embed: line 21 is skipped: it is not JSON.\n');
    expect(stderr).toContain(`batch-embed: line 22 is skipped: it has no text in 'text'.\n`);
  });

  it('stops at a broken line with --strict, whole lines behind it', () => {
    const {status, stderr} = run(...common, '--strict', '--out', file('strict.jsonl'));
    expect(status).toBe(1);
    expect(stderr).toContain('batch-embed: line 21 is broken: it is not JSON.\n');
    const written = readFileSync(file('strict.jsonl'), 'utf8');
    expect(whole().startsWith(written)).toBe(true);
    expect(written.endsWith('\n')).toBe(true);
  });

  it('killed in the middle and resumed, ends with the bytes of an undisturbed run', async () => {
    const out = file('killed.jsonl');
    const child = spawn(process.execPath, [BUNDLE, ...common, '--out', out], {stdio: 'ignore'});
    const ended = new Promise(resolve => child.once('exit', (_, signal) => resolve(signal)));
    while (!existsSync(out) || statSync(out).size === 0) await new Promise(resolve => setTimeout(resolve, 5));
    child.kill('SIGKILL');
    expect(await ended).toBe('SIGKILL');
    const size = statSync(out).size;
    expect(size).toBeLessThan(whole().length);
    truncateSync(out, size - 1000); // as if the write itself had been broken off
    expect(run(...common, '--out', out, '--resume').status).toBe(0);
    expect(readFileSync(out, 'utf8') === whole()).toBe(true);
  });

  it('interrupted, leaves whole lines', async () => {
    const out = file('interrupted.jsonl');
    const child = spawn(process.execPath, [BUNDLE, ...common, '--out', out], {stdio: 'ignore'});
    const ended = new Promise(resolve => child.once('exit', resolve));
    while (!existsSync(out) || statSync(out).size === 0) await new Promise(resolve => setTimeout(resolve, 5));
    child.kill('SIGINT');
    expect(await ended).toBe(130);
    const written = readFileSync(out, 'utf8');
    expect(written.endsWith('\n') && whole().startsWith(written)).toBe(true);
  });

  it('gives the same on worker threads', () => {
    expect(run(...common, '--workers', '2', '--out', file('threads.jsonl')).status).toBe(0);
    expect(readFileSync(file('threads.jsonl'), 'utf8') === whole()).toBe(true);
  });

  it.each([
    [['--in', '/nowhere'], 'Cannot read /nowhere: ENOENT.'],
    [[...common, '--backend', 'x'], `Unknown backend 'x'; known are cpu, wasm, tensorflow.`],
    [[...common, '--resume'], '--resume needs --out.'],
  ])('refuses %j in one line, exit 2', (args, message) => {
    const {status, stderr} = run(...args);
    expect({status, stderr}).toEqual({status: 2, stderr: `batch-embed: ${message}\n`});
  });
});

const spark = existsSync(PYTHON)
  ? null
  : 'pyspark is not there: python3 -m venv node_modules/.cache/tfjs-flash-attention/spark, its pip install pyspark==3.5.4, and Java 11 or newer';
(spark ? describe.skip : describe)(`batch-embed through Spark${spark ? ` [${spark}]` : ''}`, () => {
  it('equals one process, though a worker fails once', () => {
    const out = file('spark');
    const window = ['--window', '16'];
    // The first worker of all writes a part of a line and fails; Spark runs its partition again.
    const command = `if mkdir ${file('failed')} 2>/dev/null; then head -c 10; exit 1; fi; exec ${process.execPath} ${BUNDLE} --backend wasm "$@"`;
    execFileSync(PYTHON, [join(ROOT, 'examples/batch-embed/spark.py'), input, out, 'bash', '-c', command, 'embed'], {
      stdio: 'pipe',
      env: {
        ...process.env,
        BATCH_EMBED_WINDOW: window[1],
        BATCH_EMBED_WINDOWS_PER_PARTITION: '3',
        PYSPARK_SUBMIT_ARGS: '--master local[2,3] pyspark-shell',
        SPARK_LOCAL_IP: '127.0.0.1',
      },
    });
    const parts = readdirSync(out).filter(name => name.startsWith('part-')).sort(); // prettier-ignore
    expect(parts.length).toBe(2);
    expect(parts.map(name => readFileSync(join(out, name), 'utf8')).join('') === whole()).toBe(true);
    expect(existsSync(file('failed'))).toBe(true);
  }, 120_000);
});
