/**
 * Runs an example: examples/<name>/main.ts.
 *
 * node .ci/example.mjs <name> [arguments of the example]
 */
import {existsSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import {root} from './setup/steps.mjs';
import {start} from './start.mjs';

const [name, ...args] = process.argv.slice(2);
const main = join(root, 'examples', name ?? '', 'main.ts');
if (!name || !existsSync(main)) {
  const names = readdirSync(join(root, 'examples')).filter(example =>
    existsSync(join(root, 'examples', example, 'main.ts')),
  );
  console.error(`Usage: node .ci/example.mjs <${names.join(' | ')}> [arguments]`);
  process.exit(2);
}
process.exit(await start(main, args));
