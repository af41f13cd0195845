/**
 * The published files: CommonJS and ES modules that share chunks between the entries (a second entry must never register the
 * kernels again), types for both, the command, and the op alone as a script on the page's global `tf`.
 */
import {existsSync, readFileSync} from 'node:fs';
import {builtinModules} from 'node:module';
import {isAbsolute} from 'node:path';
import dts from 'rollup-plugin-dts';
import esbuild from 'rollup-plugin-esbuild';

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

const shaderText = {
  name: 'shader-text',
  load: id =>
    /\.(wgsl|glsl|vert|frag)$/.test(id) ? `export default ${JSON.stringify(readFileSync(id, 'utf8'))};` : null,
};

/** Whatever is not a file of this package stays an import: the caller has one tfjs-core, and it is theirs. */
const isPackage = id => builtinModules.includes(id) || !(id.startsWith('.') || isAbsolute(id));
const compile = options => [
  shaderText,
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
    plugins: compile({minify: true}),
    output: {
      file: 'dist/tfjs-flash-attention.min.js',
      format: 'iife',
      name: 'tfFlashAttention',
      globals: {'@tensorflow/tfjs-core': 'tf'},
      sourcemap: true,
    },
  },
];
