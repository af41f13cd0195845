/** The playground: builds the page and serves it; see index.html for what it shows. */
import {join} from 'node:path';
import {Command, InvalidArgumentError} from 'commander';
import type {PreviewServer, ViteDevServer} from 'vite';
import {siteConfig} from './site';

const DEFAULT_OUT = join(__dirname, '../../node_modules/.cache/tfjs-flash-attention/playground');

interface Options {
  port: number;
  host: string;
  out: string;
  serve: boolean;
  dev?: boolean;
  screenshots?: string;
}

function port(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isInteger(value) || value < 0 || value > 65535) {
    throw new InvalidArgumentError('It must be an integer from 0 to 65535.');
  }
  return value;
}

function readOptions(): Options {
  return new Command('playground')
    .description('Builds a page that runs flash attention on the reader’s own device, and serves it.')
    .option('--port <n>', 'port of the server; 0 takes a free one', port, 4173)
    .option('--host <name>', 'address that the server listens on', '127.0.0.1')
    .option('--out <folder>', 'where the built page goes; any static server can deploy it as it is', DEFAULT_OUT)
    .option('--no-serve', 'build only')
    .option('--dev', 'serve the sources instead, and reload when they change')
    .option('--screenshots <folder>', 'build, and keep pictures of the page in light, dark and on a phone there')
    .allowExcessArguments(false)
    .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : 2))
    .parse()
    .opts<Options>();
}

function addressOf({resolvedUrls}: PreviewServer | ViteDevServer): string {
  return resolvedUrls!.local[0] ?? resolvedUrls!.network[0];
}

async function main({dev, serve, screenshots, ...site}: Options): Promise<void> {
  const {build, createServer, preview} = await import('vite');
  const config = siteConfig(site);
  if (dev) {
    const server = await (await createServer(config)).listen();
    console.log(`The page, from its sources: ${addressOf(server)}`);
    return;
  }
  await build(config);
  console.log(`Built: ${site.out}`);
  if (!serve) return;
  const server = await preview(config);
  if (screenshots === undefined) {
    console.log(`The page: ${addressOf(server)}`);
    return;
  }
  const {takeScreenshots} = await import('./screenshots');
  await takeScreenshots(addressOf(server), screenshots);
  await server.close();
}

main(readOptions()).catch((error: unknown) => {
  console.error(`playground: ${error instanceof Error ? error.message.split('\n')[0] : error}`);
  process.exitCode = 1;
});
