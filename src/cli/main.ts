/** The command `tfjs-flash-attention`: exit status 0, 1 where the work failed, 2 where the call is wrong. */
import {Command} from 'commander';
import {fuseCommand} from './fuse';
import {inspectCommand} from './inspect';
import {rooflineCommand} from './roofline';
import {UsageError} from './usage';

const program = new Command('tfjs-flash-attention')
  .description('Fused attention for TensorFlow.js models.')
  .exitOverride(error => process.exit(error.exitCode === 0 ? 0 : 2))
  .showSuggestionAfterError(false);
for (const command of [inspectCommand(), fuseCommand(), rooflineCommand()]) {
  program.addCommand(command.copyInheritedSettings(program));
}

program.parseAsync().catch((error: unknown) => {
  const [line] = (error instanceof Error ? error.message : String(error)).split('\n');
  process.stderr.write(`tfjs-flash-attention: ${line}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
});
