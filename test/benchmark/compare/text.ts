/** A result for people, in the terminal. */
import {formatTable} from '../../../src/cli/table';
import type {Result, Row} from './result';

/** Three digits. */
export const digits = (x: number | undefined): string => (x === undefined ? '' : String(Number(x.toPrecision(3))));

const HEADER = ['pass', 'N', 'contestant', 'ms', 'quartiles', 'GFLOP/s', '× chain', '× best peer', 'MB', 'of peak'];

const cellsOf = (row: Row): string[] => [
  row.pass, String(row.N), row.contestant, digits(row.ms), `${digits(row.lower)}–${digits(row.upper)}`, digits(row.gflops),
  digits(row.timesChain), digits(row.timesBestPeer), digits(row.megabytes), `${digits(100 * row.shareOfPeak)} %`,
]; // prettier-ignore

export function asText({backend, machine, roofs, memoryBy, rows, leftOut}: Result): string {
  return [
    `${backend} on ${machine.gpu ?? machine.cpu}; peak ${digits(roofs.gflops)} GFLOP/s, ${digits(roofs.bandwidth)} GB/s (${roofs.by})`,
    formatTable(HEADER, rows.map(cellsOf)),
    `MB: ${memoryBy}`,
    ...leftOut.map(reason => `left out: ${reason}`),
  ].join('\n');
}
