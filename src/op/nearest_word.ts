/** "Did you mean …?" for an unknown option name. */

/** The word with the smallest edit distance to `word`, case aside; `words` must not be empty. */
export function nearestWord(word: string, words: readonly string[]): string {
  const distances = words.map(candidate => editDistance(word.toLowerCase(), candidate.toLowerCase()));
  return words[distances.indexOf(Math.min(...distances))];
}

/** Insertions, deletions and replacements that turn a into b (Levenshtein 1965), one row of the table at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({length: b.length + 1}, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length];
}
