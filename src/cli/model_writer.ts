/** Writes a model beside its final place and renames it there, so that it is whole or not at all. */
import {randomUUID} from 'node:crypto';
import {copyFile, mkdir, readdir, realpath, rename, rm, stat, writeFile} from 'node:fs/promises';
import {basename, dirname, join, resolve} from 'node:path';
import type {io} from '@tensorflow/tfjs-core';
import type {ModelFile} from './model_file';
import type {OnProgress} from './progress';
import {UsageError} from './usage';

/** @throws UsageError where OUT is there and may not be replaced. */
export async function checkTarget(modelPath: string, out: string, force: boolean): Promise<void> {
  const there = await stat(out).catch(() => null);
  if (!there) return;
  if (!force) throw new UsageError(`${out} exists; --force replaces it.`);
  if (!there.isDirectory()) throw new UsageError(`${out} is no folder.`);
  const [target, source] = [await realpath(out), await realpath(dirname(resolve(modelPath))).catch(() => '')];
  if (target === source) throw new UsageError(`${out} is the model itself: write to another folder.`);
  const names = await readdir(out);
  // What --force removes must at least look like a model that was written here.
  if (names.length > 0 && !names.includes('model.json')) throw new UsageError(`${out} is not empty and holds no model.json: it is not replaced.`); // prettier-ignore
}

export async function writeModel(
  modelPath: string,
  {json, shards}: ModelFile,
  {modelTopology}: io.ModelArtifacts,
  out: string,
  force: boolean,
  onProgress: OnProgress,
): Promise<void> {
  const target = resolve(out);
  const partial = join(dirname(target), `.${basename(target)}-${randomUUID()}`);
  try {
    await mkdir(dirname(target), {recursive: true});
    await mkdir(partial);
    for (const [n, shard] of shards.entries()) {
      const copy = join(partial, shard);
      await mkdir(dirname(copy), {recursive: true});
      await copyFile(join(dirname(modelPath), shard), copy);
      onProgress(n + 1, shards.length);
    }
    await writeFile(join(partial, 'model.json'), JSON.stringify({...json, modelTopology}));
    await putInPlace(partial, target, force);
  } catch (error) {
    await rm(partial, {recursive: true, force: true}).catch(() => undefined);
    throw new Error(`Cannot write ${out}: ${(error as NodeJS.ErrnoException).code ?? (error as Error).message}.`, {
      cause: error,
    });
  }
}

async function putInPlace(partial: string, target: string, force: boolean): Promise<void> {
  const there = await stat(target).catch(() => null);
  if (!there) return rename(partial, target);
  if (!force) throw new Error('it came into being meanwhile');
  const old = `${partial}-old`;
  await rename(target, old);
  await rename(partial, target);
  await rm(old, {recursive: true});
}
