/** The inlined module: its fields, its age, what it asks of an engine. */
import {readdirSync, readFileSync, statSync} from 'node:fs';
import {join} from 'node:path';
import {FIELDS} from '../../kernels/wasm/fields';
import {kernelModule} from '../../kernels/wasm/module';
import {attentionProblem} from '../../kernels/problem';
import {roundUp} from '../../kernels/wasm/tiling';
import {cpuSimd} from '../../src/backends/wasm';

const FOLDER = join(__dirname, '../../kernels/wasm');

it('the fields that the host writes are those of the module, in its order', () => {
  const source = readFileSync(join(FOLDER, 'assembly/problem.ts'), 'utf8');
  const fields = Array.from(source.matchAll(/^ {2}(\w+): (?:usize|i32|u32|f32);$/gm), ([, name]) => name);
  expect(fields).toEqual([...FIELDS]);
});

it('the built file is not older than its sources', () => {
  const built = statSync(join(FOLDER, 'generated/binaries.ts')).mtimeMs;
  for (const file of readdirSync(join(FOLDER, 'assembly'))) {
    expect({file, isOlder: statSync(join(FOLDER, 'assembly', file)).mtimeMs <= built}).toEqual({file, isOlder: true});
  }
});

it.each([false, true])('imports a memory and nothing else, shared: %s', shared => {
  expect(WebAssembly.Module.imports(kernelModule('simd', shared))).toMatchObject([{name: 'memory', kind: 'memory'}]);
});

it('a module for memory of one kind refuses the other', () => {
  const memory = new WebAssembly.Memory({initial: 1, maximum: 2, shared: true});
  expect(() => new WebAssembly.Instance(kernelModule('simd', false), {env: {memory}})).toThrow(/shared/);
});

it('rounds up', () => expect([roundUp(1, 16), roundUp(16, 16), roundUp(17, 16)]).toEqual([16, 16, 32]));

it('a call beyond 4 GiB is left to the next implementation', () => {
  const spec = (n: number) => ({shape: [1, 8, n, 128], dtype: 'float32'});
  const problem = (n: number) => attentionProblem('attention', {q: spec(n), k: spec(n), v: spec(n)}, {});
  const backend = null as never; // not looked at
  expect(cpuSimd.unsupported(problem(1024), backend)).toBeNull();
  expect(cpuSimd.unsupported(problem(2 ** 18), backend)).toContain('WebAssembly addresses 4');
});
