/** examples/char-gpt, small: it learns, saves, loads and writes on; the chain's losses are the same. */
import {spawnSync} from 'node:child_process';
import {existsSync, mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

const folder = mkdtempSync(join(tmpdir(), 'char-gpt-'));
afterAll(() => rmSync(folder, {recursive: true}));

const SMALL = ['--width', '16', '--heads', '2', '--blocks', '1', '--length', '32', '--batch', '4'];

function run(...args: string[]): {status: number | null; stdout: string; stderr: string} {
  return spawnSync(process.execPath, [join(__dirname, '../../.ci/example.mjs'), 'char-gpt', ...args], {
    encoding: 'utf8',
  });
}

describe('the example char-gpt', () => {
  it('learns, saves, loads, and generates with the cache', () => {
    const {status, stdout, stderr} = run(
      ...SMALL,
      '--backend',
      'cpu',
      '--steps',
      '30',
      '--generate',
      '40',
      '--prompt',
      'The keeper',
      '--out',
      folder,
    );
    expect({status, stderr}).toEqual({status: 0, stderr: ''});
    const losses = [...stdout.matchAll(/loss (\S+)/g)].map(([, loss]) => Number(loss));
    expect(losses.at(-1)).toBeLessThan(0.9 * losses[0]);
    expect(existsSync(join(folder, 'weights.bin'))).toBe(true);
    expect(stdout).toMatch(/\nThe keeper[^]{40}\n\n\d+ characters a second/);
  });

  it('gives the losses of the chain, and says what a step takes', () => {
    const {status, stdout} = run(...SMALL, '--backend', 'wasm', '--compare');
    expect(status).toBe(0);
    const losses = [...stdout.matchAll(/^ *(?:1|50) {2,}([\d.]+) {2,}([\d.]+) *$/gm)].map(([, ...both]) =>
      both.map(Number),
    );
    expect(losses).toHaveLength(2);
    for (const n of [0, 1]) expect(losses[1][n]).toBeLessThan(0.9 * losses[0][n]);
    expect(Number(/Largest difference in 50 steps: (\S+)/.exec(stdout)![1])).toBeLessThan(1e-3);
    const rows = [...stdout.matchAll(/^ *(256|1024)((?: +[\d.]+){4}) *$/gm)];
    expect(rows.map(([, T]) => T)).toEqual(['256', '1024']);
    for (const [, , numbers] of rows) {
      const [, , fusedMB, chainMB] = numbers.trim().split(/ +/).map(Number);
      expect(fusedMB).toBeLessThan(chainMB);
    }
  });

  it('refuses what it cannot do in one line, exit 2', () => {
    for (const args of [
      ['--text', '/nowhere'],
      ['--backend', 'x'],
      ['--prompt', '§'],
      ['--width', '18', '--heads', '4'],
    ]) {
      const {status, stderr} = run(...args);
      expect(status).toBe(2);
      expect(stderr).toMatch(/^char-gpt: [^\n]+\n$/);
    }
  });
});
