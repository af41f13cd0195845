/** What `explain` says of a call, in sentences. */
import type {Explanation} from 'tfjs-flash-attention';
import {quantity, times} from './quantity';

/** Tile sizes that are said in words of their own. */
const SAID = ['queries', 'keys'];

export function planSentences(explanation: Explanation): string[] {
  const {backend, implementation, tiles, flops, bytes, intensity, memory} = explanation;
  const rest = Object.entries(tiles).filter(([name]) => !SAID.includes(name));
  const others = rest.length > 0 ? ` (${rest.map(([name, value]) => `${name} ${value}`).join(', ')})` : '';
  return [
    `On ${backend}, the implementation ‘${implementation}’ serves this call${tileWords(tiles)}${others}.`,
    `It computes ${quantity(flops, 'FLOP')} and moves about ${quantity(bytes.fused, 'B')} to and from main memory, ` +
      `${perByte(intensity.fused)}; the chain moves ${quantity(bytes.unfused, 'B')}, ` +
      `${times(bytes.unfused / bytes.fused)} as much, ${perByte(intensity.unfused)}.`,
    `Besides inputs and output it is planned to hold ${quantity(memory.fused, 'B')}, ` +
      `the chain ${quantity(memory.unfused, 'B')} of scores.`,
  ];
}

/** What takes longest by the machine that the explanation was made for. */
export function boundSentence({bound}: Explanation): string {
  const {fused, unfused} = bound;
  return fused === unfused
    ? `By the roofs measured here, ${fused} bounds both.`
    : `By the roofs measured here, ${fused} bounds it, and ${unfused} the chain.`;
}

/** The implementations that do not serve the call, by the reason. */
export function otherImplementations({reasons}: Explanation): string[] {
  const names = new Map<string, string[]>();
  for (const {name, reason} of reasons) names.set(reason, [...(names.get(reason) ?? []), `‘${name}’`]);
  return [...names].map(([reason, those]) => `Not ${those.join(', not ')}: ${reason}.`);
}

function tileWords({queries, keys}: Record<string, number>): string {
  if (queries === undefined) return '';
  return ` in tiles of ${queries} queries${keys === undefined ? '' : ` × ${keys} keys`}`;
}

function perByte(intensity: number): string {
  return `${intensity.toPrecision(3)} FLOP per byte`;
}
