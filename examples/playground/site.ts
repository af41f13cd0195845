/** How Vite builds and serves the page: from this package's sources, with addresses that work in any folder of any server. */
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import type {InlineConfig, Plugin} from 'vite';

const ROOT = join(__dirname, '../..');

const shaderText: Plugin = {
  name: 'shader-text',
  enforce: 'pre',
  load: id =>
    /\.(wgsl|glsl|vert|frag)$/.test(id) ? `export default ${JSON.stringify(readFileSync(id, 'utf8'))};` : null,
};

export interface SiteOptions {
  /** Where the built page goes. */
  out: string;
  port: number;
  host: string;
}

export function siteConfig({out, port, host}: SiteOptions): InlineConfig {
  const server = {port, host, strictPort: port !== 0};
  return {
    configFile: false,
    root: __dirname,
    base: './',
    appType: 'mpa', // what is not there is a 404
    logLevel: 'warn',
    cacheDir: join(ROOT, 'node_modules/.cache/tfjs-flash-attention/vite'),
    plugins: [shaderText],
    worker: {format: 'es', plugins: () => [shaderText]},
    resolve: {
      alias: [
        {find: /^tfjs-flash-attention$/, replacement: join(ROOT, 'src/index.ts')},
        {find: /^tfjs-flash-attention\/webgpu$/, replacement: join(ROOT, 'src/webgpu.ts')},
      ],
    },
    // tfjs alone is above the size that Vite warns of.
    build: {
      rolldownOptions: {checks: {pluginTimings: false}},
      outDir: out,
      emptyOutDir: true,
      target: 'es2022',
      assetsInlineLimit: 0,
      chunkSizeWarningLimit: 3000,
    },
    server: {...server, fs: {allow: [ROOT]}},
    preview: server,
  };
}
