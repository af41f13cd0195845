/** A shader's tokens without comments, line ends and needless blanks. */

/** kernels/webgpu/unroll.ts knows such a line, and what stands for it here: `$r<ROWS{`. */
const MARKED_LOOP = /^ *for \(var (\w+) = 0u; \1 < (.+); \1\+\+\) \{ \/\/ unroll$/gm;
const DIRECTIVE = /^#/;
/** A macro's name ends at the blank or at its parameters: what follows is text to pack, they are not. */
const DEFINE = /^(#define \w+(?:\([^)]*\))?) (.*)$/;
const WORD = /[\w.]/;
const OPERATOR = /[-+*/%<>=!&|^~?:]/;

/** @param {string} source WGSL, or GLSL whose directives hold no block comments. */
export function packed(source) {
  const lines = source
    .replace(/\/\*[^]*?\*\//g, ' ')
    .replace(/\\\n/g, ' ')
    .replace(MARKED_LOOP, (_, name, bound) => `$${name}<${bound}{`)
    .split('\n');
  const packedLines = [];
  let code = '';
  const endCode = () => {
    if (code.trim()) packedLines.push(withoutBlanks(code.trim()));
    code = '';
  };
  for (const line of lines) {
    const text = line.replace(/\/\/.*$/, '').trim();
    if (DIRECTIVE.test(text)) {
      endCode();
      packedLines.push(packedDirective(text));
    } else {
      code += ` ${text}`;
    }
  }
  endCode();
  return packedLines.join('\n') + '\n';
}

function packedDirective(text) {
  const [, name, value] = DEFINE.exec(text) ?? [];
  return name ? `${name} ${withoutBlanks(value)}` : text;
}

/** Keeps a blank where two words or two operators would run together. */
function withoutBlanks(code) {
  return code.replace(/\s+/g, ' ').replace(/(.) (?=(.))/g, (pair, before, after) => {
    const together = kind => kind.test(before) && kind.test(after);
    return together(WORD) || together(OPERATOR) ? pair : before;
  });
}
