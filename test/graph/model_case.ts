/** The models that make_models.py wrote. */
import {readFileSync, readdirSync} from 'node:fs';
import {join, resolve} from 'node:path';
import {gunzipSync} from 'node:zlib';
import {unpack} from './unpack';
import type {ModelCase} from './unpack';

const MODELS = resolve('test/graph/models');
const SUFFIX = '.json.gz';

export function modelNames(): string[] {
  const files = readdirSync(MODELS).filter(file => file.endsWith(SUFFIX));
  return files.map(file => file.slice(0, -SUFFIX.length)).sort();
}

export function packedText(name: string): string {
  return gunzipSync(readFileSync(join(MODELS, name + SUFFIX))).toString();
}

export function readModelCase(name: string): ModelCase {
  return unpack(name, packedText(name));
}
