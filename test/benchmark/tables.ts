/**
 * Writes the tables of the README and of docs anew from test/benchmark/results, which `npm run bench -- … --save NAME` writes.
 *
 * npm run bench -- tables
 */
import {readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {pages, ROOT} from '../documents/code_blocks';
import {savedResults, withTables} from './compare/markdown';
import {savedGraphResult, withFusedTables} from './graph_results';

const results = savedResults();
for (const page of pages()) {
  const path = join(ROOT, page);
  const before = readFileSync(path, 'utf8');
  const after = withFusedTables(withTables(before, results), savedGraphResult);
  if (after !== before) console.log(page);
  writeFileSync(path, after);
}
