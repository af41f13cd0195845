/** Saved results as tables of Markdown pages, between `<!-- table: NAME -->` and `<!-- end of table -->`. */
import {readdirSync, readFileSync} from 'node:fs';
import {join, resolve} from 'node:path';
import type {Result, Row} from './result';
import {digits} from './text';

export const RESULTS = resolve('test/benchmark/results');

/** By the name they were saved under. */
export function savedResults(): Map<string, Result> {
  const files = readdirSync(RESULTS).filter(file => file.endsWith('.json'));
  const read = (file: string) => JSON.parse(readFileSync(join(RESULTS, file), 'utf8')) as Result;
  return new Map(files.sort().map(file => [file.replace(/\.json$/, ''), read(file)]));
}

const MARKED = /(<!-- table: (\w+)(?: ([\w-]+))? -->\n)([^]*?)(<!-- end of table -->)/g;

/** The page with every marked table made anew. @throws Error where a marker asks for what there is not. */
export function withTables(page: string, results: Map<string, Result>): string {
  return page.replace(MARKED, (_, begin: string, kind: string, name: string | undefined, _old, end: string) => {
    const make = TABLES[kind];
    if (!make) throw new Error(`there is no table '${kind}', but ${Object.keys(TABLES).join(', ')}`);
    const chosen = name === undefined ? [...results.values()] : [results.get(name)];
    if (chosen.includes(undefined)) throw new Error(`there is no result '${name}'`);
    return `${begin}\n${make(chosen as Result[])}\n\n${end}`;
  });
}

/** The names of results that a page's markers ask for. */
export function resultsShown(page: string): string[] {
  return [...page.matchAll(MARKED)].flatMap(([, , , name]) => name ?? []);
}

const TABLES: Record<string, (results: Result[]) => string> = {
  comparison: results => results.map(comparison).join('\n\n'),
  summary,
  explain: results => results.map(explained).join('\n\n'),
};

function comparison(result: Result): string {
  const header = ['', '', 'ms', 'quartiles', 'GFLOP/s', '× chain', '× best peer', 'MB', '% of peak'];
  const rows = result.rows.map((row, n) => {
    const {contestant, ms, lower, upper, gflops, timesChain, timesBestPeer, megabytes, shareOfPeak} = row;
    return [
      isNew(result.rows, n) ? place(row) : '', contestant, digits(ms), `${digits(lower)} to ${digits(upper)}`, digits(gflops),
      digits(timesChain), digits(timesBestPeer), digits(megabytes), digits(100 * shareOfPeak),
    ]; // prettier-ignore
  });
  return [
    table(header, rows),
    `${sentence(result)} MB: ${result.memoryBy}.`,
    ...(result.leftOut.length > 0 ? [`Left out: ${reasonsOf(result).join('. ')}.`] : []),
  ].join('\n\n');
}

/** Whether a backend's GPU is one. */
function driverOf({gpu}: Result['machine']): string {
  if (!gpu) return '';
  return /swiftshader|llvmpipe|software/i.test(gpu) ? ', software driver' : ', GPU';
}

/** Flash attention as a user gets it, beside the chain and the fastest peer, at the longest size of each pass. */
function summary(results: Result[]): string {
  const header = ['backend', '', 'flash attention', 'chain', '', 'onnxruntime', '', 'memory, chain’s'];
  const rows = results.flatMap(({backend, rows, machine}) =>
    [...new Set(rows.map(({pass}) => pass))].map(pass => {
      const ofPass = rows.filter(row => row.pass === pass);
      const longest = ofPass.filter(({N}) => N === Math.max(...ofPass.map(row => row.N)));
      const served = longest.find(({isChosen}) => isChosen)!;
      const chain = longest.find(({contestant}) => contestant === 'chain')!;
      const peer = longest.find(({contestant}) => contestant.startsWith('onnxruntime'));
      const times = (other: Row | undefined): string => (other ? `${digits(other.ms / served.ms)}×` : '');
      const ms = (row: Row | undefined): string => (row ? `${digits(row.ms)} ms` : '');
      return [
        `\`${backend}\`${driverOf(machine)}`, place(served), ms(served), ms(chain), times(chain),
        ms(peer), times(peer), `${megabytes(served)}, ${megabytes(chain)}`,
      ]; // prettier-ignore
    }),
  );
  return table(header, rows);
}

const megabytes = (row: Row): string => `${digits(row.megabytes)} MB`;

/** What `explain` said for a machine of the measured roofs, and what was measured. */
function explained(result: Result): string {
  const header = ['', '', 'bound', 'ms at least', 'ms measured', 'measured : least', 'MB held', 'MB measured'];
  const rows = result.rows.filter(({predicted}) => predicted);
  const cells = rows.map((row, n) => {
    const {bound, ms, megabytes: held} = row.predicted!;
    const returned = (4 * row.H * (row.pass === 'decode' ? 1 : row.N) * row.D) / 1e6;
    return [
      isNew(rows, n) ? place(row) : '', row.contestant, bound, digits(ms), digits(row.ms), digits(row.ms / ms),
      digits(held + returned), digits(row.megabytes),
    ]; // prettier-ignore
  });
  const {gflops, bandwidth, by} = result.roofs;
  const roofs = `Roofs of \`${result.backend}\`: ${digits(gflops)} GFLOP/s and ${digits(bandwidth)} GB/s (${by}).`;
  return [table(header, cells), roofs].join('\n\n');
}

const place = ({pass, N, H, D}: Row): string => `${pass}, N ${N}, H${H} D${D}`;

const isNew = (rows: Row[], n: number): boolean => n === 0 || place(rows[n]) !== place(rows[n - 1]);

function sentence({backend, machine, versions, roofs, command, date, threads}: Result): string {
  const where = [machine.gpu, machine.cpu, `${machine.cores} cores`, machine.system].filter(Boolean).join(', ');
  const software = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(', '); // prettier-ignore
  const cut = backend === 'cpu' || backend === 'wasm' ? `, ${threads === 1 ? 'one thread' : `${threads} threads`}` : '';
  return `\`${command}\` on ${date}: ${where}; ${software}${cut}. Peak ${digits(roofs.gflops)} GFLOP/s: ${roofs.by}.`;
}

const LEFT_OUT = /^(.*?), ((?:forward|backward|decode), N \d+): (.*)$/;

/** Who was left out, where and why, everybody's reason said once. */
function reasonsOf({leftOut}: Result): string[] {
  const places = new Map<string, string[]>();
  for (const text of leftOut) {
    const [, who, where, reason] = LEFT_OUT.exec(text) ?? [];
    const key = who === undefined ? text : `${who}: ${reason}`;
    places.set(key, [...(places.get(key) ?? []), ...(where === undefined ? [] : [where])]);
  }
  return [...places].map(([key, where]) => (where.length > 0 ? `${key} (${where.join('; ')})` : key));
}

/** Aligned as the formatter of the pages wants it. */
export function table(header: string[], rows: string[][]): string {
  const all = [header, ...rows];
  const widths = header.map((_, c) => Math.max(3, ...all.map(row => row[c].length)));
  const line = (cells: string[]): string => `| ${cells.map((cell, c) => cell.padEnd(widths[c])).join(' | ')} |`;
  return [line(header), line(widths.map(width => '-'.repeat(width))), ...rows.map(line)].join('\n');
}
