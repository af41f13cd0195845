/** What graph.ts measured: kept in test/benchmark/results/graph, shown in tables of pages. */
import {existsSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {RESULTS, table} from './compare/markdown';
import type {Result} from './compare/result';
import {digits} from './compare/text';
import type {EncoderCase, Measured} from './graph_timing';

export interface GraphRow extends Measured, Partial<EncoderCase> {
  /** A graph of test/graph/models, or the style of an encoder. */
  model: string;
  backend: string;
  /** Milliseconds as converted : fused; absent where only the fused one runs. */
  speed?: number;
}

export interface GraphResult extends Pick<Result, 'date' | 'machine' | 'versions' | 'leftOut'> {
  /** Where rows of several runs are kept together, one a line. */
  command: string;
  rows: GraphRow[];
}

const fileOf = (name: string): string => join(RESULTS, 'graph', `${name}.json`);

export function savedGraphResult(name: string): GraphResult | null {
  return existsSync(fileOf(name)) ? (JSON.parse(readFileSync(fileOf(name), 'utf8')) as GraphResult) : null;
}

/** Rows of the same case give way to the new ones. */
export function save(name: string, result: GraphResult): void {
  const keyOf = ({model, backend, positions, layers, width}: GraphRow): string => [model, backend, positions, layers, width].join(); // prettier-ignore
  const before = savedGraphResult(name);
  const isNew = new Set(result.rows.map(keyOf));
  const kept = before?.rows.filter(row => !isNew.has(keyOf(row))) ?? [];
  const commands = new Set([...(kept.length > 0 ? before!.command.split('\n') : []), result.command]);
  const leftOut = [...new Set([...(kept.length > 0 ? before!.leftOut : []), ...result.leftOut])];
  mkdirSync(join(RESULTS, 'graph'), {recursive: true});
  const all = {...result, command: [...commands].join('\n'), rows: [...kept, ...result.rows], leftOut};
  writeFileSync(fileOf(name), `${JSON.stringify(all, null, 2)}\n`);
}

const MARKED = /(<!-- fused: (\w+) -->\n)([^]*?)(<!-- end of fused -->)/g;

/** The page with the tables of saved results made anew; a table whose result is not there stays as it is. */
export function withFusedTables(page: string, resultOf: (name: string) => GraphResult | null): string {
  return page.replace(MARKED, (whole, begin: string, name: string, old: string, end: string) => {
    const result = resultOf(name);
    if (!result) return whole;
    const made = name === 'models' ? withSpeeds(old, result) : encoderTable(result);
    return `${begin}\n${made}\n\n${sentence(result)}\n\n${end}`;
  });
}

/** The page's own rows (title, `name`, sites found / fused), with a column of speeds for each backend. */
function withSpeeds(old: string, {rows}: GraphResult): string {
  const lines = old.split('\n').filter(line => line.startsWith('|') && !/^\|[ -]+\|[ |-]*$/.test(line));
  const cells = lines.map(line => line.split('|').slice(1, 4).map(cell => cell.trim())); // prettier-ignore
  const backends = [...new Set(rows.map(({backend}) => backend))];
  const speedOf = (name: string, backend: string): string => {
    const row = rows.find(each => `\`${each.model}\`` === name && each.backend === backend);
    if (!row || row.fused === 0) return '–';
    return row.speed === undefined ? 'only fused' : `${digits(row.speed)}×`;
  };
  const [header, ...body] = cells;
  return table(
    [...header, ...backends.map(backend => `speed on \`${backend}\``)],
    body.map(row => [...row, ...backends.map(backend => speedOf(row[1], backend))]),
  );
}

const STYLES: Record<string, string> = {bert: 'BERT', keras: 'Keras MultiHeadAttention'};

function encoderTable({rows}: GraphResult): string {
  const header = ['model', 'backend', 'positions', 'layers × width', 'as converted', 'fused', 'speed'];
  const body = rows.map(({model, backend, positions, layers, width, plain, fusedTiming, speed}) => [
    STYLES[model] ?? model, `\`${backend}\``, String(positions), `${layers} × ${width}`,
    plain ? `${digits(plain.ms)} ms` : 'does not run', `${digits(fusedTiming.ms)} ms`,
    speed === undefined ? 'only fused' : `${digits(speed)}×`,
  ]); // prettier-ignore
  return table(header, body);
}

function sentence({command, date, machine, versions, leftOut}: GraphResult): string {
  const commands = command.split('\n').map(line => `\`${line}\``).join(', '); // prettier-ignore
  const software = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(', '); // prettier-ignore
  const left = leftOut.length > 0 ? ` Left out: ${leftOut.join('; ')}.` : '';
  return `${commands} on ${date}: ${machine.cpu}, ${machine.cores} cores, ${machine.system}; ${software}. Medians of runs in turn.${left}`;
}
