/** The subcommand `roofline`: attention under a machine's roofs, as text, JSON or a chart. */
import {writeFileSync} from 'node:fs';
import {Command, InvalidArgumentError, Option} from 'commander';
import {MACHINES} from '../../kernels/machines';
import type {MachineName} from '../../kernels/machines';
import {roofline} from '../../kernels/roofline';
import type {Roofline, RooflineOptions, RooflinePoint} from '../../kernels/roofline';
import {si} from './quantity';
import type {RooflineRow} from './roofline_chart';
import {formatTable} from './table';
import {UsageError} from './usage';

interface Flags {
  n: number[];
  d: number[];
  queries?: number;
  dv?: number;
  heads?: number;
  kvHeads?: number;
  batch?: number;
  causal?: boolean;
  machine: MachineName;
  flops?: number;
  bandwidth?: number;
  bytes?: number;
  tile?: number;
  json?: boolean;
  svg?: string;
}

/** The subcommand, ready to be added to the program. */
export function rooflineCommand(): Command {
  const names = Object.keys(MACHINES);
  const presets = Object.entries(MACHINES).map(
    ([name, {name: title, source}]) => `  ${name.padEnd(8)}${title}\n          (${source})`,
  );
  return new Command('roofline')
    .description(
      'What attention computes and moves, unfused and fused, and what bounds it on a machine. A model: nothing is run.',
    )
    .option('--n <list>', 'keys (and queries), one or several: 256,1024', integers, [256, 1024, 4096])
    .option('--d <list>', 'width of q, k (and v), one or several', integers, [128, 256, 512])
    .option('--queries <number>', 'queries, where they are not as many as keys', integer)
    .option('--dv <number>', 'width of v, where it is not that of q', integer)
    .option('--heads <number>', 'query heads (default: 1)', integer)
    .option('--kv-heads <number>', 'key and value heads (default: as many as query heads)', integer)
    .option('--batch <number>', 'batch size (default: 1)', integer)
    .option('--causal', 'each query sees the keys up to its own place')
    .addOption(new Option('--machine <name>', 'a machine with known figures').choices(names).default('a100'))
    .option('--flops <number>', 'peak arithmetic in FLOP/s, instead of the machine’s: 67e12', figure)
    .option('--bandwidth <number>', 'main memory in bytes/s, instead of the machine’s: 4.8e12', figure)
    .option('--bytes <number>', 'bytes per element (default: the machine’s)', figure)
    .option('--tile <number>', 'queries per tile of the fused kernel (default: as on-chip memory allows)', integer)
    .option('--json', 'print JSON')
    .option('--svg <file>', 'write a chart, log–log, with the unfused and the fused op on the roofs')
    .addHelpText('after', `\nMachines:\n${presets.join('\n')}`)
    .action(run);
}

async function run({n: ns, d: ds, bytes, json, svg, ...sizes}: Flags): Promise<void> {
  const results = ds.flatMap(d => ns.map(n => ({n, d, ...tryRoofline({...sizes, n, d, bytesPerElement: bytes})})));
  const {machine, ridge} = results[0];
  const rows: RooflineRow[] = results.map(({machine: _machine, ridge: _ridge, ...row}) => row);
  if (json) console.log(JSON.stringify({machine, ridge, rows}, null, 2));
  else printText(machine, ridge, rows);
  if (svg === undefined) return;
  const {rooflineChart} = await import('./roofline_chart');
  const chart = await rooflineChart(machine, ridge, rows);
  try {
    writeFileSync(svg, chart);
  } catch (error) {
    throw new Error(`The chart cannot be written: ${(error as Error).message}`, {cause: error});
  }
}

function tryRoofline(options: RooflineOptions): Roofline {
  try {
    return roofline(options);
  } catch (error) {
    throw new UsageError((error as Error).message, {cause: error});
  }
}

function printText(machine: Roofline['machine'], ridge: number, rows: RooflineRow[]): void {
  const {name, flops, bandwidth, bytesPerElement, source} = machine;
  console.log(`${name}
${si(flops)}FLOP/s ÷ ${si(bandwidth)}B/s = ${Math.round(ridge)} FLOPs per byte: what computes less per byte waits for memory.
(${source})

q·kᵀ of one head, ${bytesPerElement} bytes an element${bytesPerElement === 2 ? ': N²d / (2Nd + N²)' : ''}
`);
  const product = rows.map(({n, d, product: {intensity, bound}}) => [`${n}`, `${d}`, intensity.toFixed(0), bound]);
  console.log(formatTable(['N', 'd', 'FLOPs/byte', 'bound'], product));
  console.log('\nThe whole op: matMul, softmax, matMul (unfused) and one kernel (fused)\n');
  const header = [
    'N',
    'd',
    '',
    'FLOPs',
    'bytes moved',
    'FLOPs/byte',
    'bound',
    'at least',
    'FLOP/s',
    'held besides',
    'fits',
    'tile',
  ];
  const line = (row: RooflineRow, kind: 'unfused' | 'fused'): string[] => {
    const point: RooflinePoint = row[kind];
    return [
      `${row.n}`,
      `${row.d}`,
      kind,
      si(point.flops),
      `${si(point.bytes)}B`,
      point.intensity.toFixed(point.intensity < 10 ? 1 : 0),
      point.bound,
      `${si(point.seconds)}s`,
      si(point.flopsPerSecond),
      `${si(point.extraBytes)}B`,
      row.fits === undefined ? '?' : row.fits[kind] ? 'yes' : 'no',
      kind === 'fused' ? `${row.tile}` : '',
    ];
  };
  console.log(formatTable(header, rows.flatMap(row => [line(row, 'unfused'), line(row, 'fused')]))); // prettier-ignore
}

function integer(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('It must be a positive integer.');
  return value;
}

function integers(text: string): number[] {
  return text.split(',').map(integer);
}

function figure(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0)
    throw new InvalidArgumentError('It must be a positive number such as 312e12.');
  return value;
}
