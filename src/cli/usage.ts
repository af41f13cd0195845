import {absurdity} from '../graph/declared_shapes';

/** What the caller of a command got wrong: exit status 2. */
export class UsageError extends Error {
  override name = 'UsageError';
}

/** `--shape name=1,512`, once per input. */
export function addShape(text: string, before: Record<string, number[]> = {}): Record<string, number[]> {
  const at = text.lastIndexOf('=');
  const sizes = text.slice(at + 1).split(',').map(Number); // prettier-ignore
  if (at < 1 || !sizes.every(size => Number.isInteger(size) && size > 0 && size <= 2 ** 24)) {
    throw new UsageError(`'--shape ${text}' is no name=1,512,… with sizes from 1 to 2^24.`);
  }
  const problem = absurdity(sizes);
  if (problem !== null) throw new UsageError(`'--shape ${text.slice(0, at)}=…' has ${problem}: no tensor is so large.`);
  return {...before, [text.slice(0, at)]: sizes};
}
