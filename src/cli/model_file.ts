/** Reads a model.json with its weight files from a folder, and says in one line what is wrong with them. */
import {readFile} from 'node:fs/promises';
import {dirname, isAbsolute, join, normalize, sep} from 'node:path';
import type {io} from '@tensorflow/tfjs-core';
import {byteLength} from '../graph/constants';
import {GraphError} from '../graph/graph_view';
import {readable} from '../graph/weights';

export interface ModelFile {
  /** The whole file, as parsed. */
  json: io.ModelJSON;
  artifacts: io.ModelArtifacts;
  /** Weight files in order, relative to the folder of model.json. */
  shards: string[];
}

/** @throws GraphError naming the file and what is wrong with it. */
export async function readModelFile(
  path: string,
  onProgress?: (done: number, all: number) => void,
): Promise<ModelFile> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new GraphError(`Cannot read ${path}: ${reasonOf(error)}.`);
  });
  const json = parse(path, text);
  const groups = groupsOf(path, json.weightsManifest);
  const shards = groups.flatMap(group => group.paths);
  const specs = groups.flatMap(group => group.weights);
  const buffers: ArrayBuffer[] = [];
  for (const shard of shards) {
    const bytes = await readFile(join(dirname(path), inside(path, shard))).catch((error: unknown) => {
      throw new GraphError(`Cannot read the weight file '${shard}' of ${path}: ${reasonOf(error)}.`);
    });
    buffers.push(toArrayBuffer(bytes));
    onProgress?.(buffers.length, shards.length);
  }
  checkLength(path, specs, buffers);
  const {modelTopology, format, generatedBy, convertedBy, signature, userDefinedMetadata, modelInitializer, initializerSignature} = json; // prettier-ignore
  return {
    json,
    shards,
    artifacts: {
      modelTopology, weightSpecs: specs, weightData: readable(buffers),
      ...defined({format, generatedBy, convertedBy, signature, userDefinedMetadata, modelInitializer, initializerSignature}),
    },
  }; // prettier-ignore
}

/** An IOHandler for a model.json on this disk. */
export function fileHandler(path: string): io.IOHandler {
  return {load: async () => (await readModelFile(path)).artifacts};
}

function parse(path: string, text: string): io.ModelJSON {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new GraphError(`${path} is not JSON: ${(error as Error).message.replace(/\s+/g, ' ')}.`);
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new GraphError(`${path} holds no model.`);
  if (!('modelTopology' in json)) throw new GraphError(`${path} has no modelTopology: it is no model.json.`);
  return json as io.ModelJSON;
}

function groupsOf(path: string, manifest: unknown): io.WeightsManifestConfig {
  if (manifest === undefined) return [];
  const valid =
    Array.isArray(manifest) &&
    manifest.every((group: {paths?: unknown; weights?: unknown} | null) =>
      Array.isArray(group?.paths) && group.paths.every(p => typeof p === 'string') && Array.isArray(group.weights)); // prettier-ignore
  if (!valid) throw new GraphError(`The weightsManifest of ${path} is no list of groups with paths and weights.`);
  return manifest as io.WeightsManifestConfig;
}

/** A path from a file must not reach beyond its folder. */
function inside(path: string, shard: string): string {
  const normal = normalize(shard);
  const leaves = isAbsolute(normal) || normal === '..' || normal.startsWith(`..${sep}`) || shard.includes('\0');
  if (leaves) throw new GraphError(`The weight path '${shard}' of ${path} leaves the model's folder.`);
  return normal;
}

function checkLength(path: string, specs: io.WeightsManifestEntry[], buffers: ArrayBuffer[]): void {
  const there = buffers.reduce((sum, {byteLength: bytes}) => sum + bytes, 0);
  let wanted = 0;
  for (const spec of specs) {
    const bytes = Array.isArray(spec?.shape) ? byteLength(spec) : null;
    if (bytes === null) return;
    wanted += bytes;
  }
  if (wanted > there) throw new GraphError(`The weight files of ${path} hold ${there} bytes where its manifest lists ${wanted}: truncated.`); // prettier-ignore
}

function toArrayBuffer(bytes: Buffer): ArrayBuffer {
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
}

function reasonOf(error: unknown): string {
  const {code, message} = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EISDIR') return 'it is a folder';
  return code ?? message;
}

function defined<T extends object>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
}
