/** A progress bar for steps that take long; only a terminal sees it. */
import {Presets, SingleBar} from 'cli-progress';

export type OnProgress = (done: number, all: number) => void;

export async function withProgress<T>(title: string, work: (onProgress: OnProgress) => Promise<T>): Promise<T> {
  if (!process.stderr.isTTY) return work(() => undefined);
  const format = `${title} {bar} {value}/{total}`;
  const bar = new SingleBar(
    {format, stream: process.stderr, clearOnComplete: true, hideCursor: true},
    Presets.shades_classic,
  );
  try {
    bar.start(1, 0);
    return await work((done, all) => {
      bar.setTotal(all);
      bar.update(done);
    });
  } finally {
    bar.stop();
  }
}
