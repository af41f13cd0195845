/** Jest runs TypeScript through swc, in an environment that tfjs-node, Dawn and a browser can live with. */
const swc = {
  jsc: {parser: {syntax: 'typescript'}, target: 'es2022'},
  module: {type: 'commonjs'},
  sourceMaps: 'inline',
};

module.exports = {
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  testEnvironment: '<rootDir>/test/harness/environment.mjs',
  transform: {
    '\\.(wgsl|glsl|vert|frag)$': '<rootDir>/test/harness/text_transform.js',
    '\\.ts$': ['@swc/jest', swc],
  },
  moduleNameMapper: {
    '^tfjs-flash-attention$': '<rootDir>/src',
    '^tfjs-flash-attention/(.*)$': '<rootDir>/src/$1',
  },
  modulePathIgnorePatterns: ['<rootDir>/dist/', '<rootDir>/node_modules/.cache/'],
  reporters: ['default', '<rootDir>/test/harness/reporter.mjs'],
  // A lookup of a global is slow inside jest's sandbox, and attention in loops makes millions of them.
  sandboxInjectedGlobals: ['Math', 'Number', 'Object'],
  testSequencer: '<rootDir>/test/harness/sequencer.js',
  maxWorkers: 2,
  testTimeout: 60_000,
};
