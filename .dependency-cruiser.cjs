/** Which way imports may point (design): kernels ← src ← examples, test; inside src, op ← backends, graph, layers, with cli on top. */

/** @param files what may not import @param others what, both as patterns of paths */
const never = (name, comment, files, others, also = {}) => ({
  name,
  comment,
  severity: 'error',
  from: {path: files},
  to: {path: others, ...also},
});

module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      comment: 'A cycle of imports has no bottom to start reading from.',
      severity: 'error',
      from: {},
      to: {circular: true},
    },
    {
      name: 'imports-resolve',
      comment: 'An import that leads nowhere hides from every other rule.',
      severity: 'error',
      from: {},
      to: {couldNotResolve: true, pathNot: '^page-module$'},
    },
    never('kernels-know-no-tfjs', 'Kernels compute on plain data.', '^kernels/', '@tensorflow/'),
    never('kernels-are-the-bottom', 'Kernels import nothing but kernels.', '^kernels/', '^(src|examples|test)/'),
    never('src-imports-no-tests', 'The package ships without them.', '^src/', '^(examples|test)/'),
    never('examples-import-no-tests', 'An example is what a user would write.', '^examples/', '^test/'),
    never('op-is-the-bottom-of-src', 'The op knows no backend.', '^src/op/', '^src/(?!op/)'),
    never(
      'backends-know-the-op-only',
      'And what is common to all backends.',
      '^src/backends/',
      '^src/(?!op/|backends/)',
    ),
    {
      name: 'backends-stand-alone',
      comment: 'A backend never imports another; the interface and the plain fallback are common to all.',
      severity: 'error',
      from: {path: '^src/backends/([^/._]+)'},
      to: {path: '^src/backends/', pathNot: ['^src/backends/$1[/._]', '^src/backends/(implementation|composed)[/.]']},
    },
    never('graph-and-layers-stand-on-the-op', 'Not on backends.', '^src/(graph|layers)/', '^src/backends/'),
    never('graph-knows-no-layers', 'They are entries of their own.', '^src/graph/', '^src/layers/'),
    never('layers-know-no-graph', 'They are entries of their own.', '^src/layers/', '^src/graph/'),
    never('cli-is-on-top', 'Nothing in src imports the command.', '^src/(?!cli/)', '^src/cli/'),
    never(
      'backend-packages-are-types',
      'They are optional: only the entry webgpu, which makes a backend, loads one.',
      '^src/(?!webgpu|cli/)',
      '@tensorflow/(tfjs-backend-|tfjs-node)',
      {dependencyTypesNot: ['type-only']},
    ),
    never(
      'converter-and-layers-have-entries',
      'Who imports the op alone needs neither.',
      '^src/(?!graph/|layers/|cli/)',
      '@tensorflow/(tfjs-converter|tfjs-layers)',
      {dependencyTypesNot: ['type-only']},
    ),
  ],
  options: {
    doNotFollow: {path: 'node_modules'},
    exclude: {path: '^kernels/wasm/(assembly|generated)/|^dist/'},
    tsPreCompilationDeps: true,
    tsConfig: {fileName: 'tsconfig.json'},
    enhancedResolveOptions: {
      extensions: ['.ts', '.mjs', '.js', '.d.ts'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'types', 'default'],
    },
  },
};
