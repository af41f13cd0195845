/** Which optional parts of the test machinery this machine has: written by setup.mjs, read by the test run. */
import {join} from 'node:path';
import {cache, readJson} from './setup/steps.mjs';

export const partsFile = join(cache, 'parts.json');

/** The parts that cannot be had, with their reasons. */
export function missingParts() {
  return Object.entries(readJson(partsFile) ?? {}).filter(([, reason]) => reason !== null);
}
