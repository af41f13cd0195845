/** Input lines as windows of a fixed number, with what is wrong with a line said instead of its text. */
import {createReadStream} from 'node:fs';
import {createInterface} from 'node:readline';
import type {Readable} from 'node:stream';

export type Format = 'jsonl' | 'lines';

/** A line's text with the key under which its embedding is written, or what is wrong with it. */
export type Line = {number: number; text: string; key: Record<string, unknown>} | {number: number; problem: string};

/** Consecutive lines; what is embedded together depends on the window alone, so that results do not depend on the run. */
export interface Window {
  lines: Line[];
  /** Bytes of input up to its end, roughly: for the progress bar. */
  bytes: number;
}

export function openInput(path: string | undefined): Readable {
  return path === undefined ? process.stdin : createReadStream(path);
}

/** @param format undefined: JSONL if the first line begins with '{'. */
export async function* readWindows(
  input: Readable,
  size: number,
  field: string,
  format?: Format,
): AsyncGenerator<Window> {
  let window: Line[] = [];
  let bytes = 0;
  let number = 0;
  for await (const line of createInterface({input, crlfDelay: Infinity})) {
    number++;
    bytes += Buffer.byteLength(line) + 1;
    format ??= line.trimStart().startsWith('{') ? 'jsonl' : 'lines';
    window.push(format === 'jsonl' ? parseJson(line, number, field) : parsePlain(line, number));
    if (window.length < size) continue;
    yield {lines: window, bytes};
    window = [];
  }
  if (window.length > 0) yield {lines: window, bytes};
}

function parsePlain(line: string, number: number): Line {
  return line.trim() === '' ? {number, problem: 'it is empty'} : {number, text: line, key: {line: number}};
}

/** The key is the object's `id`, else its `line` (as spark.py numbers them), else the line's number. */
function parseJson(line: string, number: number, field: string): Line {
  let object: unknown;
  try {
    object = JSON.parse(line);
  } catch {
    return {number, problem: 'it is not JSON'};
  }
  if (typeof object !== 'object' || object === null || Array.isArray(object))
    return {number, problem: 'it is not a JSON object'};
  const {id, line: given, [field]: text} = object as Record<string, unknown>;
  if (typeof text !== 'string') return {number, problem: `it has no text in '${field}'`};
  if (text.trim() === '') return {number, problem: `its '${field}' is empty`};
  return {number, text, key: id === undefined ? {line: given ?? number} : {id}};
}
