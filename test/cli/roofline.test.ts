/** The subcommand `roofline` of the built command: text, JSON, chart and errors. */
import {spawnSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {roofline} from '../../kernels/roofline';
import type {Roofline} from '../../kernels/roofline';

const COMMAND = join(__dirname, '../../dist/cli.js');

function run(...args: string[]): {status: number | null; stdout: string; stderr: string} {
  return spawnSync(process.execPath, [COMMAND, 'roofline', ...args], {encoding: 'utf8'});
}

interface Json {
  ridge: number;
  machine: Roofline['machine'];
  rows: Array<Omit<Roofline, 'machine' | 'ridge'> & {n: number; d: number}>;
}

it('prints the note’s table and the whole op below it', () => {
  const {status, stdout} = run();
  expect(status).toBe(0);
  expect(stdout).toContain('312 TFLOP/s ÷ 1.55 TB/s = 201 FLOPs per byte');
  const products = [...stdout.matchAll(/^ *(\d+) +(\d+) +(\d+) {2}(memory|compute)$/gm)].map(([, ...cells]) =>
    cells.join(' '),
  );
  expect(products).toEqual([
    '256 128 64 memory', '1024 128 102 memory', '4096 128 120 memory',
    '256 256 85 memory', '1024 256 171 memory', '4096 256 228 compute',
    '256 512 102 memory', '1024 512 256 compute', '4096 512 410 compute',
  ]); // prettier-ignore
  expect(stdout.match(/ unfused /g)).toHaveLength(9);
  expect(stdout.match(/ fused /g)).toHaveLength(9);
});

it('prints JSON that says what the function says', () => {
  const flags = [
    '--n',
    '64',
    '--d',
    '8,16',
    '--queries',
    '16',
    '--dv',
    '4',
    '--heads',
    '6',
    '--kv-heads',
    '2',
    '--batch',
    '3',
  ];
  const {stdout} = run(...flags, '--causal', '--machine', 'laptop', '--flops', '67e12', '--bandwidth', '4.8e12', '--bytes', '4', '--tile', '8', '--json'); // prettier-ignore
  const {ridge, machine, rows} = JSON.parse(stdout) as Json;
  const options = {n: 64, queries: 16, dv: 4, heads: 6, kvHeads: 2, batch: 3, causal: true, machine: 'laptop', flops: 67e12, bandwidth: 4.8e12, bytesPerElement: 4, tile: 8} as const; // prettier-ignore
  expect(rows).toHaveLength(2);
  for (const {n, d, ...row} of rows) expect({n, machine, ridge, ...row}).toEqual({n: 64, ...roofline({...options, d})});
});

it('draws each size twice on the roof', () => {
  const folder = mkdtempSync(join(tmpdir(), 'roofline-'));
  const file = join(folder, 'chart.svg');
  expect(run('--n', '256,4096', '--d', '64', '--svg', file)).toMatchObject({status: 0, stderr: ''});
  const svg = readFileSync(file, 'utf8');
  rmSync(folder, {recursive: true});
  expect(svg).toMatch(/^<svg .*role="img"/);
  expect(svg).toContain('<title>Roofline of attention on NVIDIA A100');
  expect(svg).toContain('201 FLOPs per byte');
  expect(svg).toContain('1: N 256, d 64');
  // Two circles and two diamonds, and one of each in the legend.
  expect(svg.match(/<path d="[^"]*" transform="translate/g)).toHaveLength(6);
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
});

it.each([
  [['--n', '0'], 'must be a positive integer'],
  [['--n', '12,x'], 'must be a positive integer'],
  [['--flops', '-1'], 'must be a positive number'],
  [['--machine', 'b200'], 'a100, h100, laptop, cpu'],
  [['--heads', '4', '--kv-heads', '3'], `'kvHeads' passed to 'roofline' must divide heads (4), but got 3.`],
  [['--ns', '4'], 'unknown option'],
])('refuses %j with exit 2 and one line', (args, message) => {
  const {status, stderr} = run(...args);
  expect(status).toBe(2);
  expect(stderr).toContain(message);
  expect(stderr).not.toMatch(/^\s+at /m);
});

it('says where a chart cannot be written, with exit 1', () => {
  const {status, stderr} = run('--svg', join(tmpdir(), 'no', 'such', 'folder', 'chart.svg'));
  expect(status).toBe(1);
  expect(stderr).toMatch(/^tfjs-flash-attention: The chart cannot be written: .*\n$/);
});
