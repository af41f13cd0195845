/** What the script for pages weighs: the op with all its kernels. */
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {gzipSync} from 'node:zlib';

const root = join(__dirname, '../..');

it('the script for pages takes at most 60 kB gzipped', () => {
  const script = readFileSync(join(root, 'dist/tfjs-flash-attention.min.js'));
  expect(gzipSync(script).length).toBeLessThanOrEqual(60_000);
});
