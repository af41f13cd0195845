/** The bytes of each array in workgroup memory, read from a kernel's WGSL text: what `explain` and the tilings must say of it. */
import {runInNewContext} from 'node:vm';

const BYTES_OF: Record<string, number> = {f32: 4, u32: 4, 'atomic<u32>': 4, vec4f: 16, vec4u: 16, 'vec4<f16>': 8};

const withoutComments = (wgsl: string): string => wgsl.replace(/\/\/.*$/gm, '');

function valueOf(expression: string, constants: ReadonlyMap<string, number>): number {
  const numbers = expression.replace(/\b(\d+)u\b/g, '$1').replace(/\b[A-Z]\w*\b/g, name => {
    if (!constants.has(name)) throw new Error(`'${name}' is no number`);
    return String(constants.get(name));
  });
  if (!/^[\d\s.()+*/-]+$/.test(numbers)) throw new Error(`'${numbers}' is no arithmetic`);
  return /^\d+$/.test(numbers) ? Number(numbers) : Math.floor(runInNewContext(numbers) as number);
}

/** The constants that are integers. */
export function constantsOf(wgsl: string): Map<string, number> {
  const constants = new Map<string, number>();
  for (const [, name, expression] of withoutComments(wgsl).matchAll(/^const (\w+)(?:: \w+)? = ([^;]+);/gm)) {
    try {
      constants.set(name, valueOf(expression, constants));
    } catch {
      // Not every constant is a size.
    }
  }
  return constants;
}

export function workgroupArrays(wgsl: string): Record<string, number> {
  const text = withoutComments(wgsl);
  const constants = constantsOf(wgsl);
  const aliases = new Map([...text.matchAll(/alias (\w+) = ([^;]+);/g)].map(([, name, type]) => [name, type]));
  const value = (expression: string): number => valueOf(expression, constants);
  const bytes = (type: string): number => {
    const [, element, count] = /^array<(.*), ([^,]+)>$/.exec(type) ?? [];
    if (element !== undefined) return bytes(element) * value(count);
    const alias = aliases.get(type);
    const half = /^vec4<(\w+)>$/.exec(type)?.[1];
    if (alias !== undefined) return bytes(alias);
    if (half !== undefined && aliases.has(half)) return bytes(`vec4<${aliases.get(half)}>`);
    if (!(type in BYTES_OF)) throw new Error(`of what size is '${type}'?`);
    return BYTES_OF[type];
  };
  return Object.fromEntries(
    [...text.matchAll(/var<workgroup> (\w+): ([^;]+);/g)].map(([, name, type]) => [name, bytes(type.trim())]),
  );
}

/** Tilings name the two parts of the one array of halves that the kernel with matrices has. */
export function inOneArray(onChip: Record<string, number>): Record<string, number> {
  if (onChip.weights === undefined) return onChip;
  const {keyTile, valueTile, ...others} = onChip;
  return {halves: keyTile + valueTile, ...others};
}
