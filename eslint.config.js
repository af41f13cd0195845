/** Strict, type-checked linting of the package; tests and scripts keep to the same rules where types allow. */
const {join} = require('node:path');
const js = require('@eslint/js');
const prettier = require('eslint-config-prettier');
const {defineConfig, globalIgnores, includeIgnoreFile} = require('eslint/config');
const tseslint = require('typescript-eslint');

const NODE_GLOBALS = {
  AbortSignal: 'readonly', Buffer: 'readonly', URL: 'readonly', __dirname: 'readonly', console: 'readonly',
  clearInterval: 'readonly', fetch: 'readonly', module: 'writable', process: 'readonly', require: 'readonly',
  setInterval: 'readonly', setTimeout: 'readonly', SharedArrayBuffer: 'readonly', WebAssembly: 'readonly',
}; // prettier-ignore

module.exports = defineConfig(
  includeIgnoreFile(join(__dirname, '.gitignore')),
  globalIgnores(['kernels/wasm/assembly/']),
  js.configs.recommended,
  {
    files: ['**/*.{js,mjs,cjs}'],
    languageOptions: {globals: NODE_GLOBALS},
  },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {parserOptions: {projectService: true, tsconfigRootDir: __dirname}},
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', {fixStyle: 'separate-type-imports'}],
      // What indexing and tfjs's types say too little about, these hold against the code.
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-unnecessary-condition': 'off',
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      // Where the meaning is plain.
      '@typescript-eslint/restrict-template-expressions': 'off',
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-misused-spread': ['error', {allow: [{from: 'lib', name: 'string'}]}],
      '@typescript-eslint/no-meaningless-void-operator': 'off',
      '@typescript-eslint/no-unused-vars': ['error', {varsIgnorePattern: '^_', argsIgnorePattern: '^_'}],
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      // expect(object.method) and tables of tests.
      '@typescript-eslint/unbound-method': 'off',
      // What JSON and a page's functions give has the type that the caller names.
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
    },
  },
  {
    rules: {
      'max-lines': ['error', {max: 350}],
      eqeqeq: ['error', 'smart'],
      'no-console': 'off',
    },
  },
  prettier,
);
