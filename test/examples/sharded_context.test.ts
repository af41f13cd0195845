/** examples/sharded-context: parts on worker threads, merged, agree with one call. */
import {spawnSync} from 'node:child_process';
import {join} from 'node:path';

function run(...args: string[]): {status: number | null; stdout: string; stderr: string} {
  return spawnSync(process.execPath, [join(__dirname, '../../.ci/example.mjs'), 'sharded-context', ...args], {
    encoding: 'utf8',
  });
}

describe('the example sharded-context', () => {
  it('splits 131,072 keys over 4 workers and agrees with one call', () => {
    const {status, stdout, stderr} = run('--queries', '4', '--heads', '1');
    expect({status, stderr}).toEqual({status: 0, stderr: ''});
    expect(stdout).toContain('131072 keys, 4 queries, 1 heads of 64, backend wasm');
    expect(Number(/max \|difference\|: (\S+)/.exec(stdout)![1])).toBeLessThan(1e-5);
  });

  it('takes shards of different sizes, and more workers than keys of one', () => {
    expect(run('--keys', '101', '--workers', '3', '--queries', '101', '--dim', '7', '--backend', 'cpu').status).toBe(0);
  });

  it('refuses what it cannot do in one line, exit 2', () => {
    const {status, stderr} = run('--backend', 'x');
    expect({status, stderr}).toEqual({
      status: 2,
      stderr: `sharded-context: Unknown backend 'x'; known are cpu, wasm, tensorflow.\n`,
    });
  });
});
