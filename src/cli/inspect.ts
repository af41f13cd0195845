/** `inspect MODEL`: which attention a model has, what of it can be fused, and what that would save. */
import {Command} from 'commander';
import {fusedWork, readingsByHead, unfusedWork} from '../../kernels/roofline';
import type {Work} from '../../kernels/roofline';
import {fuseAttention} from '../graph/fuse';
import type {Report, Site} from '../graph/report';
import {readModelFile} from './model_file';
import {checkShapes} from './model_inputs';
import {modelPath} from './model_path';
import {withProgress} from './progress';
import {si} from './quantity';
import {formatTable} from './table';
import {addShape} from './usage';

interface Flags {
  json?: boolean;
  shape?: Record<string, number[]>;
}

interface Estimate {
  before: Work;
  after: Work;
}

/** Bytes of a float32, and queries that a kernel takes at a time. */
const BYTES = 4;
const TILE = 64;

export function inspectCommand(): Command {
  return new Command('inspect')
    .description('List the attention of a GraphModel: patterns, options, and why a site stays as it is.')
    .argument('<model>', 'model.json or its folder')
    .option('--json', 'print JSON')
    .option(
      '--shape <name=sizes>',
      'shape of an input, such as input_ids=1,512, to estimate work with; repeatable',
      addShape,
    )
    .action(inspect);
}

async function inspect(model: string, flags: Flags): Promise<void> {
  const path = await modelPath(model);
  const {artifacts} = await withProgress('reading', onProgress => readModelFile(path, onProgress));
  checkShapes(artifacts, flags.shape ?? {});
  const {report} = fuseAttention(artifacts, {inputShapes: flags.shape, keepWeights: true});
  const estimates = report.sites.map(estimate);
  if (flags.json) console.log(JSON.stringify(asJson(path, report, estimates), null, 2));
  else printReport(report, estimates, flags.shape !== undefined);
}

function estimate({sizes, options}: Site): Estimate | undefined {
  if (!sizes) return undefined;
  const {Sq, Sk} = sizes;
  const causalPairs = Sq <= Sk ? Sq * (Sk - Sq) + (Sq * (Sq + 1)) / 2 : (Sk * (Sk + 1)) / 2;
  const scorePasses = Number(options.scale !== 1) + Number(options.bias ?? false) + Number(options.mask ?? false) + Number(options.causal ?? false); // prettier-ignore
  const work = {...sizes, visiblePairs: options.causal ? causalPairs : Sq * Sk, scorePasses};
  return {before: unfusedWork(work, BYTES), after: fusedWork(work, BYTES, readingsByHead(work, TILE))};
}

function asJson(model: string, report: Report, estimates: Array<Estimate | undefined>): object {
  return {model, ...report, sites: report.sites.map((site, n) => ({...site, estimate: estimates[n]}))};
}

export function printReport(report: Report, estimates: Array<Estimate | undefined> = [], shaped = false): void {
  const {sites} = report;
  if (sites.length === 0) {
    console.log('No attention found.');
    return;
  }
  console.log(formatTable(['site', 'pattern', 'options', 'result'], sites.map(row))); // prettier-ignore
  console.log(`\n${sites.length} found, ${report.fused} can be fused, ${report.skipped} stay as they are.`);
  if (shaped) printEstimates(sites, estimates);
}

function row({name, pattern, options, fused, reason}: Site): string[] {
  const words = [
    options.scale === undefined ? '' : `scale ${Number(options.scale.toPrecision(4))}`,
    options.causal ? 'causal' : '',
    options.softcap ? `softcap ${Number(options.softcap.toPrecision(4))}` : '',
    options.bias ? 'bias' : '',
    options.mask ? 'mask' : '',
  ].filter(word => word !== '');
  return [name, pattern, words.join(', '), fused ? 'can be fused' : (reason ?? '')];
}

function printEstimates(sites: Site[], estimates: Array<Estimate | undefined>): void {
  const lines = sites.map((site, n) => {
    const found = estimates[n];
    if (!found) return [site.name, '–', '–', '–', '–', '–', '–'];
    const {before, after} = found;
    return [site.name, ...[before, after].flatMap(({flops, bytes, extraBytes}) => [`${si(flops)}FLOP`, `${si(bytes)}B`, `${si(extraBytes)}B`])]; // prettier-ignore
  });
  const header = ['site', 'computed', 'moved', 'held', 'fused: computed', 'moved', 'held'];
  console.log(`\nEstimated for these shapes (float32, tiles of ${TILE} queries)\n\n${formatTable(header, lines)}`);
}
