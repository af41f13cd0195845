/**
 * The published files: CommonJS and ES modules that share chunks between the entries (a second entry must never register the
 * kernels again), types for both, the command, and the op alone as a script on the page's global `tf`.
 */
import {existsSync, readFileSync} from 'node:fs';
import {builtinModules} from 'node:module';
import {isAbsolute} from 'node:path';
import dts from 'rollup-plugin-dts';
import esbuild from 'rollup-plugin-esbuild';
import {minify} from 'terser';
import {SHADER, publisher} from './.ci/shaders/published.mjs';

const ENTRIES = {
  index: ['src/index.ts'],
  graph: ['src/graph/index.ts'],
  layers: ['src/layers/index.ts'],
  webgpu: ['src/webgpu.ts', 'src/webgpu/index.ts'],
};
const COMMAND = {cli: ['src/cli/main.ts']};

/** The entries whose sources are there. */
function present(entries) {
  const found = Object.entries(entries).map(([name, files]) => [name, files.find(file => existsSync(file))]);
  return Object.fromEntries(found.filter(([, file]) => file));
}

const published = publisher();
const shaders = {
  name: 'shaders',
  load: id => (SHADER.test(id) ? `export default ${JSON.stringify(published(readFileSync(id, 'utf8')))};` : null),
};

/**
 * What a page with this script cannot use: tfjs-node's own implementations, and what only a device has that the entry `webgpu` opens
 * (subgroups, half precision, subgroup matrices). `explain` gives the reason.
 */
const MISSING = `'it is not in the script for pages'`;
const NOT_FOR_PAGES = {
  'src/register_tensorflow.ts': 'export const nodeImplementations = [];',
  'src/op/asked.ts': 'export const noteAsked = () => {};', // of use to tfjs-node alone
  'src/backends/webgpu/extensions.ts': `
    export const extensionsOf = () => ({subgroup: 0, hasHalves: false, matrices: {shapes: [], subgroup: 0}});`,
  'kernels/webgpu/matrix_bodies.ts': `
    export const MATRIX_BODIES = {}, enables = () => '', stageOf = () => '';`,
  'src/backends/webgpu/convert.ts': 'export const convertKeys = () => [];',
  'src/backends/webgpu/extended_plan.ts': `
    const missing = () => ${MISSING};
    export {missing as decodeVariant, missing as fewQueriesVariant, missing as halfVariant};
    export {missing as matrixVariant, missing as subgroupVariant};`,
};
const SHADERS_NOT_FOR_PAGES = [
  'decode',
  'entry_matrix',
  'entry_subgroup',
  'lanes_natural',
  'lanes_subgroup',
  'tile_half',
];
for (const name of SHADERS_NOT_FOR_PAGES) NOT_FOR_PAGES[`kernels/webgpu/${name}.wgsl`] = `export default '';`;
const forPages = {
  name: 'for-pages',
  load: id => Object.entries(NOT_FOR_PAGES).find(([file]) => id.endsWith(`/${file}`))?.[1],
  /** The worker's program is text, which nothing else would minify; where a machine's figures come from is told in the modules. */
  transform: async (code, id) => {
    if (id.endsWith('/kernels/machines.ts')) {
      return {code: code.replace(/source:\s*'[^']*'/g, `source: 'kernels/machines.ts'`), map: null};
    }
    if (!id.endsWith('/kernels/wasm/pool_worker.ts')) return null;
    const [literal, program] = /(?<== )`([^]*)`/.exec(code);
    const {code: text} = await minify(program, {ecma: 2022, toplevel: true});
    return {code: code.replace(literal, () => JSON.stringify(text)), map: null};
  },
};

/** Compressed, then renamed: names given in one go with the first are chosen for text that is not there in the end. */
const minified = [
  {compress: {passes: 3, sequences: false, inline: 1, unsafe_arrows: true, pure_getters: true}, mangle: false},
  {compress: false},
].map(options => ({
  name: 'minified',
  renderChunk: code => minify(code, {...options, ecma: 2022, sourceMap: true}),
}));

/** Whatever is not a file of this package stays an import: the caller has one tfjs-core, and it is theirs. */
const isPackage = id => builtinModules.includes(id) || !(id.startsWith('.') || isAbsolute(id));
const compile = options => [
  shaders,
  esbuild({target: 'es2022', sourceMap: true, tsconfig: 'tsconfig.json', ...options}),
];

const moduleFormat = (format, extension) => ({
  dir: 'dist',
  format,
  sourcemap: true,
  entryFileNames: `[name].${extension}`,
  chunkFileNames: `chunks/[name]-[hash].${extension}`,
  exports: 'named',
  interop: 'auto',
});

const typesFormat = extension => ({
  dir: 'dist',
  entryFileNames: `[name].d.${extension}`,
  chunkFileNames: `chunks/[name]-[hash].d.${extension}`,
});

export default [
  {
    input: {...present(ENTRIES), ...present(COMMAND)},
    external: isPackage,
    plugins: compile(),
    output: {...moduleFormat('cjs', 'js'), banner: ({name}) => (name in COMMAND ? '#!/usr/bin/env node' : '')},
  },
  {
    input: present(ENTRIES),
    external: isPackage,
    plugins: compile(),
    output: moduleFormat('es', 'mjs'),
  },
  {
    input: present(ENTRIES),
    external: isPackage,
    plugins: [dts({compilerOptions: {types: ['@webgpu/types']}})],
    output: [typesFormat('ts'), typesFormat('mts')],
  },
  {
    input: ENTRIES.index[0],
    external: isPackage,
    plugins: [forPages, ...compile(), ...minified],
    output: {
      file: 'dist/tfjs-flash-attention.min.js',
      format: 'iife',
      name: 'tfFlashAttention',
      globals: {'@tensorflow/tfjs-core': 'tf'},
      // tf is one object on a page: no copy of it.
      interop: 'esModule',
      freeze: false,
      externalLiveBindings: false,
      sourcemap: true,
    },
  },
];
