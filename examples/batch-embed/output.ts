/** Embeddings as JSON lines: whole lines only, and a file that was broken off is continued behind its last whole line. */
import {open} from 'node:fs/promises';
import type {FileHandle} from 'node:fs/promises';
import {once} from 'node:events';
import {WIDTH} from './embedder';

/** float32 carries 7 digits. */
const DIGITS = 7;
const CHUNK = 1 << 20;
const NEWLINE = 10;

export interface Output {
  write(text: string): Promise<void>;
  close(): Promise<void>;
}

export function embeddingLine(key: Record<string, unknown>, embeddings: Float32Array, row: number): string {
  const embedding = Array.from(embeddings.subarray(row * WIDTH, (row + 1) * WIDTH), x => Number(x.toPrecision(DIGITS)));
  return `${JSON.stringify({...key, embedding})}\n`;
}

/** @returns the output, and how many lines it holds already. */
export async function openOutput(
  path: string | undefined,
  resume: boolean,
): Promise<{output: Output; linesThere: number}> {
  if (path === undefined) {
    const write = async (text: string): Promise<void> => {
      if (!process.stdout.write(text)) await once(process.stdout, 'drain');
    };
    return {output: {write, close: () => Promise.resolve()}, linesThere: 0};
  }
  const file = await open(path, resume ? 'a+' : 'w');
  const linesThere = resume ? await cutToWholeLines(file) : 0;
  return {output: {write: async text => void (await file.appendFile(text)), close: () => file.close()}, linesThere};
}

/** Drops what follows the last newline; counts newlines. */
async function cutToWholeLines(file: FileHandle): Promise<number> {
  const buffer = Buffer.alloc(CHUNK);
  let lines = 0;
  let end = 0;
  for (let at = 0; ;) {
    const {bytesRead} = await file.read(buffer, 0, CHUNK, at);
    if (bytesRead === 0) break;
    for (let n = 0; n < bytesRead; n++) {
      if (buffer[n] !== NEWLINE) continue;
      lines++;
      end = at + n + 1;
    }
    at += bytesRead;
  }
  await file.truncate(end);
  return lines;
}
