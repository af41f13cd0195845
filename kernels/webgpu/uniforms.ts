/**
 * The one uniform record that every WebGPU kernel reads as `u`: sizes, strides and scalars that change from call to call
 * without compiling anything. The order here is the layout; all members are 4 bytes wide, so there is no padding to get wrong.
 */
const MEMBERS = {
  // Work items of this dispatch; query tiles, key splits and key heads that an item's number is made of.
  items: 'u32', tiles: 'u32', splits: 'u32', heads: 'u32',
  // First batch and key head of the part that this dispatch serves.
  batchStart: 'u32', headStart: 'u32',
  B: 'u32', H: 'u32', Hkv: 'u32', group: 'u32', Sq: 'u32', Sk: 'u32', splitKeys: 'u32',
  qBatch: 'u32', qHead: 'u32', qRow: 'u32', qStart: 'u32',
  kBatch: 'u32', kHead: 'u32', kRow: 'u32', kStart: 'u32',
  vBatch: 'u32', vHead: 'u32', vRow: 'u32', vStart: 'u32',
  oBatch: 'u32', oHead: 'u32', oRow: 'u32', oStart: 'u32', oSplit: 'u32',
  biasBatch: 'u32', biasHead: 'u32', biasRow: 'u32', biasKey: 'u32', biasStart: 'u32',
  maskBatch: 'u32', maskHead: 'u32', maskRow: 'u32', maskKey: 'u32', maskStart: 'u32',
  // Where lse's second part starts when both share a buffer; blocks of a tile, a uniform so that the loop over them is not
  // unrolled beyond the instruction cache; where the backward kernels find their row values.
  lseLowStart: 'u32', blocks: 'u32', rowsAt: 'u32', valueStart: 'u32',
  // Where the small inputs lie in their common buffer.
  lengthsAt: 'u32', offsetsAt: 'u32', querySegmentsAt: 'u32', keySegmentsAt: 'u32', slopesAt: 'u32', slopesBatch: 'u32',
  sinksAt: 'u32',
  windowLeft: 'i32', windowRight: 'i32', queryOffset: 'i32',
  scale: 'f32', softcap: 'f32', keepScale: 'f32', negativeInfinity: 'f32',
  seed: 'u32', dropBelow: 'u32', zero: 'u32',
} as const; // prettier-ignore

export type UniformName = keyof typeof MEMBERS;
export type Uniforms = Partial<Record<UniformName, number>>;

/** The WGSL text that declares `u` at the given binding. */
export function uniformDeclaration(binding: number): string {
  const members = Object.entries(MEMBERS).map(([name, type]) => `  ${name}: ${type},\n`);
  return `struct Uniforms {\n${members.join('')}}\n@group(0) @binding(${binding}) var<uniform> u: Uniforms;\n`;
}

/** The record's bytes; members not named are 0. */
export function uniformBytes(values: Uniforms): ArrayBuffer {
  const names = Object.keys(MEMBERS) as UniformName[];
  const bytes = new ArrayBuffer(Math.ceil(names.length / 4) * 16);
  const view = new DataView(bytes);
  names.forEach((name, i) => {
    const value = name === 'negativeInfinity' ? -Infinity : (values[name] ?? 0);
    if (MEMBERS[name] === 'f32') view.setFloat32(4 * i, value, true);
    // Offsets wrap around 2^32 on purpose: what is subtracted on the device wraps back.
    else view.setUint32(4 * i, value % 2 ** 32, true);
  });
  return bytes;
}
