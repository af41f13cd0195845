/** Prints what was skipped and why, then the run's totals on a line of their own; under CI=true a missing part is a failure. */
import {missingParts} from '../../.ci/parts.mjs';

export default class TotalsReporter {
  onRunComplete(_, results) {
    const skipped = new Map();
    for (const file of results.testResults) {
      for (const {status, ancestorTitles, title} of file.testResults) {
        if (status !== 'pending') continue;
        const suite = ancestorTitles.length > 0 ? ancestorTitles.join(' › ') : title;
        skipped.set(suite, (skipped.get(suite) ?? 0) + 1);
      }
    }
    const missing = missingParts();
    const lines = [...skipped].map(([suite, tests]) => `Skipped: ${suite}: ${tests} tests`);
    lines.push(...missing.map(([part, reason]) => `Not available here: ${part}: ${reason}`));
    // Files that do not even load have no tests of their own to count.
    const failed = results.numFailedTests + results.testResults.filter(file => file.testExecError).length;
    lines.push(`${results.numPassedTests} passed, ${failed} failed, ${results.numPendingTests} skipped`);
    // Jest's own summary follows the reporters: these lines are to be the last.
    process.once('exit', () => console.log(`\n${lines.join('\n')}`));
    this.missing = missing.length > 0 && process.env.CI === 'true';
  }

  getLastError() {
    if (this.missing) return new Error('CI=true, and parts of the test machinery are not available (see above).');
  }
}
