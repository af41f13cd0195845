/**
 * Expands the loops of static WGSL whose opening line ends in `// unroll`: GPU compilers leave loops around subgroup operations
 * alone, and an array that is indexed by a loop's variable leaves the registers. The text stays valid WGSL without it; published
 * shaders (.ci/shaders) have `$r<ROWS{` for such a line.
 */

type Values = Readonly<Record<string, number>>;

const MARKED = /\$(\w+)<(.+?)\{|^ *for \(var (\w+) = 0u; \3 < (.+); .*\/\/ unroll$/m;

/** @param values what names in the loops' bounds stand for. */
export function unroll(source: string, values: Values): string {
  const found = MARKED.exec(source);
  if (!found) return source;
  const [line, name, bound] = found.filter(Boolean);
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

/** Operators by how strongly they bind, the weakest first. */
const LEVELS: ReadonlyArray<Record<string, (a: number, b: number) => number>> = [
  {'<<': (a, b) => a << b},
  {'+': (a, b) => a + b, '-': (a, b) => a - b},
  {'*': (a, b) => a * b, '/': (a, b) => Math.floor(a / b)},
];

/** Whole-number arithmetic of +, -, *, /, << and parentheses. @throws Error at anything else. */
function evaluate(expression: string, values: Values): number {
  const tokens = expression.match(/\w+|<<|[-+*/()]/g) ?? [];
  let at = 0;
  const result = level(0);
  if (at !== tokens.length) throw new Error(`cannot evaluate the loop bound '${expression}'`);
  return result;

  function level(n: number): number {
    const operators = LEVELS[n];
    if (!operators) return atom();
    let left = level(n + 1);
    while (operators[tokens[at]]) left = operators[tokens[at++]](left, level(n + 1));
    return left;
  }
  function atom(): number {
    const token = tokens[at++];
    if (token === '(') {
      const inner = level(0);
      at++;
      return inner;
    }
    const value = /^\d+u?$/.test(token) ? Number.parseInt(token, 10) : values[token];
    if (value === undefined) throw new Error(`the loop bound '${expression}' has no value for '${token}'`);
    return value;
  }
}
