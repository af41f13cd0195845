/** `npm run example:online-softmax` as a reader runs it: its tables, its agreement, its errors. */
import {spawnSync} from 'node:child_process';
import {join} from 'node:path';

const ROOT = join(__dirname, '../..');

function run(...args: string[]): {status: number | null; stdout: string; stderr: string} {
  return spawnSync(process.execPath, [join(ROOT, '.ci/example.mjs'), 'online-softmax', ...args], {encoding: 'utf8'});
}

/** The counts that the tables give for a way: passes, reads, writes. */
function counts(table: string, name: string): number[] {
  const line = table.split('\n').find(each => each.startsWith(name)) ?? '';
  return line.slice(name.length).trim().split(/\s+/).slice(0, 3).map(text => Number(text.replaceAll(',', ''))); // prettier-ignore
}

describe('the example online-softmax', () => {
  const [n, D, Dv] = [300, 16, 16];
  const {status, stdout, stderr} = run('--n', `${n}`, '--tile', '7', '--seed', '5');
  const [, softmaxes, rest] = stdout.split(/^Softmax of.*$|^Attention of.*$/m);
  const [attentions, recurrence] = rest.split(/^The recurrence.*$/m);

  it('ends well, and says nothing on stderr', () => {
    expect({status, stderr}).toEqual({status: 0, stderr: ''});
    expect(stdout).toContain('All but the naive softmax agree to 0.00002.');
  });

  it.each([
    ['naive softmax', 2, 2 * n, n],
    ['safe softmax, op by op', 5, 5 * n, 3 * n],
    ['3-pass softmax', 3, 3 * n, n],
    ['2-pass online softmax', 2, 2 * n, n],
  ])('%s: %i passes, %i reads, %i writes; in attention with both products', (name, passes, reads, writes) => {
    expect(counts(softmaxes, name)).toEqual([passes, reads, writes]);
    const products = {reads: D + n * D + n + n * Dv, writes: n + Dv};
    expect(counts(attentions, name)).toEqual([passes + 2, reads + products.reads, writes + products.writes]);
  });

  it('attention in one pass reads its inputs once and writes its output', () => {
    expect(counts(attentions, '1-pass attention, tile 7')).toEqual([1, D + n * (D + Dv), Dv]);
  });

  it('only the naive softmax overflows', () => {
    const overflowing = [...stdout.matchAll(/^(.*?) {2}.*NaN/gm)].map(([, name]) => name);
    expect(overflowing).toEqual(['naive softmax', 'naive softmax']);
  });

  it('the recurrence equals the sum made anew', () => {
    const lines = recurrence.split('\n').map(line => line.trim().split(/\s+/)).filter(cells => /^\d+$/.test(cells[0])); // prettier-ignore
    expect(lines).toHaveLength(8);
    for (const [, , , , rowSum, sumAnew] of lines) expect(rowSum).toBe(sumAnew);
  });

  it('gives the same for the same seed', () => {
    expect(run('--n', `${n}`, '--tile', '7', '--seed', '5').stdout).toBe(stdout);
    expect(run('--n', `${n}`, '--tile', '7', '--seed', '6').stdout).not.toBe(stdout);
  });

  it.each([[['--n', '0']], [['--tile', 'x']], [['--seeed', '1']]])('refuses %j in one line, exit 2', args => {
    const {status, stderr} = run(...args);
    expect(status).toBe(2);
    expect(stderr.trim()).toMatch(/^error: .*$/m);
    expect(stderr).not.toMatch(/^\s+at /m);
  });
});
