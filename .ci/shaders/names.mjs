/**
 * Short names for what only shaders name: locals, parameters, members, functions, macros. One mapping serves all files, so no scope has to be
 * understood. Names that TypeScript mentions or composes stay, since it puts the shaders together: constants, uniforms, accessors.
 */

const NAME = /[A-Za-z_]\w*/g;
const VARIABLES = [
  /\b(?:let|var|const)(?:<[^>]*>)?\s+(\w+)/g, // WGSL
  /\$(\w+)</g, // marked loops
  /\b(\w+):/g, // WGSL's parameters and members
  /\b(?:bool|float|u?int|[biu]?vec[234]|mat[234])\s+(\w+)\b(?!\()/g, // GLSL
];
const CALLABLES = [
  /\b(?:fn|alias|struct)\s+(\w+)/g,
  /\b(?:void|bool|float|u?int|[biu]?vec[234]|mat[234])\s+(\w+)\(/g,
  /^#define (\w+)/gm,
];
/** What belongs to the languages: after an @, what is built in, and a vector's components. */
const KEPT = [/@\s*(\w+)/g, /@builtin\((\w+)/g, /\b(main)\b/g, /\b([xyzw]+|[rgba]+|[stpq]+)\b/g];
/** What a template literal composes: `load_${name}`. */
const TEMPLATE = /(\w*)\$\{[^}]*\}(\w*)/g;
const KEYWORDS = ['do', 'if', 'fn', 'in', 'as', 'of'];

/**
 * @param {string[]} shaders every shader of the package.
 * @param {string} code the TypeScript that composes them.
 * @returns {Map<string, string>} from a name to its short one.
 */
export function shortNames(shaders, code) {
  const text = shaders.join('\n');
  const found = patterns =>
    new Set(patterns.flatMap(pattern => Array.from(text.matchAll(pattern), ([, name]) => name)));
  const uses = new Map();
  for (const [name] of text.matchAll(NAME)) uses.set(name, (uses.get(name) ?? 0) + 1);
  const mentioned = new Set(code.match(NAME));
  const composed = Array.from(code.matchAll(TEMPLATE), ([, before, after]) => [before, after]);
  const kept = found(KEPT);
  const callables = found(CALLABLES);
  const called = found([/\b(\w+)\(/g]);
  const isOwn = name =>
    name.length > 2 &&
    !mentioned.has(name) &&
    !kept.has(name) &&
    // A variable may be called like a built-in function that another shader calls.
    (callables.has(name) || !called.has(name)) &&
    !name.split('_').some(part => mentioned.has(part) && part.length > 3 && part === part.toUpperCase()) &&
    !composed.some(([before, after]) => before + after && name.startsWith(before) && name.endsWith(after));

  const own = [...found([...VARIABLES, ...CALLABLES])].filter(isOwn).sort((a, b) => uses.get(b) - uses.get(a));
  const free = shortest(name => !uses.has(name) && !mentioned.has(name) && !KEYWORDS.includes(name));
  return new Map(own.map(name => [name, free.next().value]));
}

/** A shader with its names replaced. */
export function renamed(shader, names) {
  return shader.replace(/\b[A-Za-z_]\w*/g, name => names.get(name) ?? name);
}

function* shortest(isFree) {
  const letters = Array.from('abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ');
  yield* letters.filter(isFree);
  for (const first of letters) yield* letters.map(second => first + second).filter(isFree);
}
