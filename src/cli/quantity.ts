/** Quantities for people. */

/** Three digits and a decimal prefix: 312 T, 4.20 m. */
export function si(value: number): string {
  if (value === 0) return '0 ';
  const power = Math.max(-4, Math.min(6, Math.floor(Math.log10(value) / 3)));
  const prefix = ['p', 'n', 'µ', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E'][power + 4];
  const scaled = value / 1000 ** power;
  return `${scaled.toFixed(scaled < 10 ? 2 : scaled < 100 ? 1 : 0)} ${prefix}`;
}
