/**
 * Compiles the AssemblyScript kernels, once for plain SIMD and once with relaxed SIMD (fused multiply-add), into one file of
 * strings. The file is built, never committed: the build and the tests' start run this where a source is newer.
 */
import {mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join, relative} from 'node:path';
import {fileURLToPath} from 'node:url';
import asc from 'assemblyscript/asc';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '../..');

// The memory comes from outside: tfjs's own, or ours.
const OPTIONS = [
  '--runtime', 'stub', '--importMemory', '--noExportMemory', '--initialMemory', '1', '--maximumMemory', '65536',
  '--enable', 'simd', '--noAssert', '--optimizeLevel', '3', '--shrinkLevel', '1', '--disableWarning', '112',
]; // prettier-ignore
// `module.ts` sets whether the memory is shared, so one binary serves both.
const SHARED = ['--sharedMemory', '--enable', 'threads'];
const RELAXED = ['--enable', 'relaxed-simd'];

async function compile(file, extra) {
  const folder = mkdtempSync(join(tmpdir(), 'kernels-'));
  try {
    const out = join(folder, 'kernels.wasm');
    const entry = relative(root, join(here, 'assembly', file));
    const args = [entry, '--baseDir', root, '--outFile', relative(root, out), ...OPTIONS, ...extra];
    const {error, stderr} = await asc.main(args, {});
    if (error) throw new Error(`${error.message}\n${stderr.toString()}`);
    return readFileSync(out);
  } finally {
    rmSync(folder, {recursive: true});
  }
}

/** Printable ASCII without what ends a string or a page's script: a common byte each, and first of two for the rare ones. */
const LETTERS = Array.from({length: 87}, (_, n) => String.fromCharCode(40 + n)).filter(
  letter => !'<\\`'.includes(letter),
);
const ESCAPES = '!#%';

/**
 * The binaries as text that module.ts reads back, mostly a letter a byte: bytes stay aligned, so that gzip finds in the second
 * binary what the first had. In base64, whose letters do not, the two took 5 kB more of the gzipped script.
 */
function asTexts(binaries) {
  const counts = new Array(256).fill(0);
  for (const byte of Buffer.concat(binaries)) counts[byte]++;
  const byCount = [...counts.keys()].sort((a, b) => counts[b] - counts[a]);
  const isCommon = byte => byCount.indexOf(byte) < LETTERS.length;
  const bytes = [...counts.keys()].sort((a, b) => isCommon(b) - isCommon(a) || a - b);
  const letterOf = (_, n) => (ESCAPES[Math.floor(n / LETTERS.length) - 1] ?? '') + LETTERS[n % LETTERS.length];
  const letters = new Map(bytes.map((byte, n) => [byte, letterOf(byte, n)]));
  // Four bytes a digit: which of them are common.
  const mask = Array.from({length: 64}, (_, n) =>
    [0, 1, 2, 3].reduce((bits, bit) => bits + (isCommon(4 * n + bit) << bit), 0).toString(16),
  );
  return {mask: mask.join(''), texts: binaries.map(binary => Array.from(binary, byte => letters.get(byte)).join(''))};
}

/**
 * Where a binary says what memory it imports, in a byte of flags: behind the import's name `6 "memory"` and kind 2.
 */
function memoryFlagsAt(binary) {
  const name = Buffer.from('\x06memory\x02', 'latin1');
  const at = binary.indexOf(name);
  if (at < 0) throw new Error('The compiled kernels import no memory.');
  return at + name.length;
}

/** Writes the kernels, which are published, and the probes, which are not. */
export async function build() {
  const simd = await compile('index.ts', SHARED);
  const relaxed = await compile('index.ts', [...SHARED, ...RELAXED]);
  const {mask, texts} = asTexts([simd, relaxed]);
  const [flagsAt, flagsOfRelaxed] = [simd, relaxed].map(memoryFlagsAt);
  if (flagsAt !== flagsOfRelaxed) throw new Error('The two builds import their memory at different places.');
  write('binaries', {
    LETTERS: LETTERS.join(''),
    ESCAPES,
    COMMON: mask,
    MEMORY_FLAGS_AT: flagsAt,
    SIMD: texts[0],
    RELAXED_SIMD: texts[1],
  });
  const probe = await compile('probe.ts', []);
  const relaxedProbe = await compile('probe.ts', RELAXED);
  write('probes', {PROBES: {simd: probe.toString('base64'), 'relaxed-simd': relaxedProbe.toString('base64')}});
}

function write(file, constants) {
  const lines = Object.entries(constants).map(([name, value]) => `export const ${name} = ${JSON.stringify(value)};\n`);
  mkdirSync(join(here, 'generated'), {recursive: true});
  const comment = '/** Written by kernels/wasm/build.mjs from kernels/wasm/assembly. */\n';
  writeFileSync(join(here, 'generated', `${file}.ts`), comment + lines.join(''));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await build();
