/** `fuse MODEL OUT`: writes the model with its attention fused; weight files are copied as they are. */
import {Command} from 'commander';
import {fuseAttention} from '../graph/fuse';
import {printReport} from './inspect';
import {readModelFile} from './model_file';
import {modelPath} from './model_path';
import {checkTarget, writeModel} from './model_writer';
import {withProgress} from './progress';
import {addShape, UsageError} from './usage';
import {VERIFY_BACKENDS, verify} from './verify';

interface Flags {
  verify?: boolean;
  force?: boolean;
  json?: boolean;
  backend?: string;
  tolerance: number;
  shape?: Record<string, number[]>;
}

export function fuseCommand(): Command {
  return new Command('fuse')
    .description(
      'Write a GraphModel with its attention fused. It loads once tfjs-flash-attention/graph has been imported.',
    )
    .argument('<model>', 'model.json or its folder')
    .argument('<out>', 'folder to write; must not exist')
    .option('--verify', 'first run both models on random inputs and compare')
    .option('--force', 'replace OUT where it is a model')
    .option('--json', 'print the report as JSON')
    .option(
      '--backend <name>',
      `backend of --verify: ${VERIFY_BACKENDS.join(', ')} (default: the first that is installed)`,
    )
    .option(
      '--tolerance <number>',
      'largest difference that --verify accepts, times max(1, largest output)',
      Number,
      1e-4,
    )
    .option('--shape <name=sizes>', 'shape of an input for --verify; repeatable', addShape)
    .action(fuse);
}

async function fuse(model: string, out: string, flags: Flags): Promise<void> {
  if (!(flags.tolerance > 0)) throw new UsageError('--tolerance must be a number greater than 0.');
  if (flags.backend !== undefined && !VERIFY_BACKENDS.includes(flags.backend)) {
    throw new UsageError(`Unknown backend '${flags.backend}'; known are ${VERIFY_BACKENDS.join(', ')}.`);
  }
  const path = await modelPath(model);
  await checkTarget(path, out, flags.force === true);
  const file = await withProgress('reading', onProgress => readModelFile(path, onProgress));
  const fused = fuseAttention(file.artifacts, {keepWeights: true});
  if (fused.report.fused === 0)
    throw new Error(`Nothing was written: ${path} has no attention that can be fused (see inspect).`);
  let difference: number | undefined;
  if (flags.verify) {
    difference = await withProgress('verifying', onProgress =>
      verify(file.artifacts, fused.artifacts, flags, onProgress),
    );
  }
  await withProgress('writing', onProgress =>
    writeModel(path, file, fused.artifacts, out, flags.force === true, onProgress),
  );
  if (flags.json) {
    console.log(
      JSON.stringify({model: path, out, ...fused.report, ...(difference !== undefined && {difference})}, null, 2),
    );
    return;
  }
  printReport(fused.report);
  if (difference !== undefined) console.log(`Largest difference on random inputs: ${difference.toExponential(2)}.`);
  console.log(`Written to ${out}.`);
}
