/** Rows of text as an aligned table; columns whose cells all look like numbers are aligned to the right. */
export function formatTable(header: string[], rows: string[][]): string {
  const widths = header.map((title, c) => Math.max(title.length, ...rows.map(row => row[c].length)));
  const isNumeric = header.map((_, c) => rows.every(row => /^[-+−]?(\d|NaN|∞|–|$)/.test(row[c])));
  const line = (cells: string[]): string =>
    cells
      .map((cell, c) => (isNumeric[c] ? cell.padStart(widths[c]) : cell.padEnd(widths[c])))
      .join('  ')
      .trimEnd();
  return [line(header), line(widths.map(width => '─'.repeat(width))), ...rows.map(line)].join('\n');
}
