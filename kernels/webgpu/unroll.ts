/**
 * Expands the loops of static WGSL whose opening line ends in `// unroll`: GPU compilers leave loops around subgroup operations
 * alone, and an array that is indexed by a loop's variable leaves the registers. The text stays valid WGSL without it.
 */

type Values = Readonly<Record<string, number>>;

const MARKED = /^[ ]*for \(var (\w+) = 0u; \1 < (.+); \1\+\+\) \{ \/\/ unroll$/m;

/** @param values what names in the loops' bounds stand for. */
export function unroll(source: string, values: Values): string {
  const found = MARKED.exec(source);
  if (!found) return source;
  const [line, name, bound] = found;
  const bodyStart = found.index + line.length;
  const bodyEnd = closingBrace(source, bodyStart);
  const body = source.slice(bodyStart, bodyEnd);
  const count = evaluate(bound, values);
  let expanded = '';
  for (let n = 0; n < count; n++) expanded += `{ const ${name} = ${n}u;${unroll(body, {...values, [name]: n})}}\n`;
  return source.slice(0, found.index) + expanded + unroll(source.slice(bodyEnd + 1), values);
}

/** The brace that closes the one before `from`. */
function closingBrace(source: string, from: number): number {
  let depth = 1;
  for (let at = from; at < source.length; at++) {
    if (source[at] === '{') depth++;
    if (source[at] === '}' && --depth === 0) return at;
  }
  throw new Error('a marked loop does not end');
}

/** Whole-number arithmetic of +, -, *, /, << and parentheses. @throws Error at anything else. */
function evaluate(expression: string, values: Values): number {
  const tokens = expression.match(/\w+|<<|[-+*/()]/g) ?? [];
  let at = 0;
  const result = shifted();
  if (at !== tokens.length) throw new Error(`cannot evaluate the loop bound '${expression}'`);
  return result;

  function shifted(): number {
    let left = sum();
    while (tokens[at] === '<<') {
      at++;
      left <<= sum();
    }
    return left;
  }
  function sum(): number {
    let left = product();
    while (tokens[at] === '+' || tokens[at] === '-') left = tokens[at++] === '+' ? left + product() : left - product();
    return left;
  }
  function product(): number {
    let left = atom();
    while (tokens[at] === '*' || tokens[at] === '/')
      left = tokens[at++] === '*' ? left * atom() : Math.floor(left / atom());
    return left;
  }
  function atom(): number {
    const token = tokens[at++];
    if (token === '(') {
      const inner = shifted();
      at++;
      return inner;
    }
    const value = /^\d+u?$/.test(token) ? Number.parseInt(token, 10) : values[token];
    if (value === undefined) throw new Error(`the loop bound '${expression}' has no value for '${token}'`);
    return value;
  }
}
