/**
 * The constants that a GPU pipeline is compiled with. One record becomes the lines in front of the static shader text and,
 * because the cache key is made of exactly those lines, no interpolated value can be missing from the key.
 *
 * Only what must be known when compiling belongs here: widths, tile sizes, which options are present. Sizes are uniforms.
 */
export type Constants = Readonly<Record<string, number | boolean>>;

/** `const NAME = value;` per entry; whole numbers stay abstract, so they serve as u32, i32 and f32 alike. */
export function wgslHeader(constants: Constants): string {
  return lines(constants, (name, value) => `const ${name} = ${value};`);
}

/** `#define NAME value` per entry. */
export function glslHeader(constants: Constants): string {
  return lines(constants, (name, value) => `#define ${name} ${value}`);
}

/** @throws Error for a value that would not compile: NaN and the infinities are no constants in WGSL or GLSL. */
function lines(constants: Constants, line: (name: string, value: number | boolean) => string): string {
  return Object.entries(constants)
    .map(([name, value]) => {
      if (typeof value === 'number' && !Number.isFinite(value)) throw new Error(`constant ${name} is ${value}`);
      return `${line(name, value)}\n`;
    })
    .join('');
}
