/** What one run of a contestant holds at its peak with what it returns, where nothing ran before that left memory to be taken again unseen. */
import {fieldOf} from './contestants';
import type {Backend, Problem} from './result';

export const isOnGpu = (backend: Backend): boolean => backend === 'webgl' || backend === 'webgpu';

export const memoryBy = (backend: Backend): string =>
  isOnGpu(backend)
    ? 'bytes of the buffers or textures that a first run makes the backend create'
    : 'rise of the process’s resident memory to its peak during one run (VmHWM of Linux)';

/** Loads and compiles what a run needs, without its size. */
export const smallOf = (problem: Problem): Problem => ({...problem, N: 32});

/** How many bytes the work took; undefined where that cannot be measured. */
export type MeasureBytes = (work: () => Promise<unknown>) => Promise<number | undefined>;

/** In a fresh process or page, MB. */
export async function megabytesOfFirstRun(
  backend: Backend,
  contestant: string,
  problem: Problem,
  measure: MeasureBytes,
): Promise<number | undefined> {
  const open = (of: Problem) => {
    const {contestants, upload, dispose} = fieldOf(of);
    return {run: contestants.find(({name}) => name === contestant)!.run, upload, dispose};
  };
  // What a process loads for its first run is not of this run; a GPU's buffers are. Not every implementation serves small calls.
  for (const N of isOnGpu(backend) ? [] : [smallOf(problem).N, Math.ceil(problem.N / 4)]) {
    const small = open({...problem, N});
    const served = await small.run(1).then(
      () => true,
      () => false,
    );
    small.dispose();
    if (served) break;
  }
  const {run, upload, dispose} = open(problem);
  await upload();
  const bytes = await measure(() => run(1));
  dispose();
  return bytes === undefined ? undefined : bytes / 1e6;
}
