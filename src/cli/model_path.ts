/** MODEL of the commands: a model.json or the folder that holds one. */
import {stat} from 'node:fs/promises';
import {join} from 'node:path';

export async function modelPath(model: string): Promise<string> {
  const isFolder = await stat(model).then(
    stats => stats.isDirectory(),
    () => false,
  );
  return isFolder ? join(model, 'model.json') : model;
}
