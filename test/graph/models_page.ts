/** The page's side of models.test.ts. */
import {judge} from './judge';
import type {Verdict} from './judge';
import {unpack} from './unpack';

export function judgeModel(name: string, text: string, unfusedRuns: boolean): Promise<Verdict> {
  return judge(unpack(name, text), unfusedRuns);
}
