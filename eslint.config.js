import { createNodeResolver, importX } from 'eslint-plugin-import-x'
import tseslint from 'typescript-eslint'
import { fileName } from './scripts/lint/file-name.mjs'
import { importZones } from './scripts/lint/import-direction.mjs'

const sources = ['src/**/*.ts']
const tests = ['**/*.test.ts', 'test/**/*.ts']
const scripts = ['**/*.mjs', '**/*.js']
const neededByTools = ['*.config.ts', '*.config.js', 'test/support/global-setup.ts']

export default tseslint.config(
  { ignores: ['dist/', 'coverage/', '**/node_modules/', '.tidemark/'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  tseslint.configs.strict,
  {
    plugins: { 'import-x': importX, tidemark: { rules: { 'file-name': fileName } } },
    settings: {
      'import-x/extensions': ['.ts', '.mjs', '.js'],
      'import-x/parsers': { '@typescript-eslint/parser': ['.ts'] },
      'import-x/resolver-next': [createNodeResolver({ conditionNames: ['tidemark-source', 'types', 'import', 'node', 'default'] })],
    },
    rules: {
      'no-console': 'error',
      eqeqeq: 'error',
      'prefer-const': 'error',
      'object-shorthand': 'error',
      'no-restricted-syntax': [
        'error',
        { selector: 'TSAsExpression > TSAsExpression > TSUnknownKeyword', message: 'No `as unknown as`: fix the type where it is wrong.' },
      ],
      'tidemark/file-name': 'error',
      'import-x/no-default-export': 'error',
      'import-x/no-duplicates': ['error', { 'prefer-inline': false }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/consistent-type-definitions': ['error', 'interface'],
      '@typescript-eslint/array-type': ['error', { default: 'array' }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrors: 'all' }],
      // `bytes[index]!` is how arithmetic on buffers reads under `noUncheckedIndexedAccess`.
      '@typescript-eslint/no-non-null-assertion': 'off',
      // An interface that only names what it extends is documentation.
      '@typescript-eslint/no-empty-object-type': ['error', { allowInterfaces: 'with-single-extends' }],
      // `Promise<void>` unions and `undefined | void` callbacks are how handlers may end.
      '@typescript-eslint/no-invalid-void-type': 'off',
      // Dictionaries keyed by names from outside are read with an index signature on purpose.
      '@typescript-eslint/consistent-indexed-object-style': 'off',
    },
  },
  {
    files: ['**/*.ts'],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    // The few rules that need types are those that catch a lost promise, the bug this library can least afford.
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: { arguments: false } }],
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/only-throw-error': 'error',
    },
  },
  {
    files: sources,
    ignores: tests,
    rules: {
      'import-x/no-restricted-paths': ['error', { basePath: import.meta.dirname, zones: importZones() }],
      'import-x/no-cycle': 'error',
      'import-x/no-self-import': 'error',
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              group: ['tidemark', 'tidemark/*', '**/test/**', '**/bench/**', '**/examples/**'],
              message: 'The library stands on its own files.',
            },
          ],
        },
      ],
    },
  },
  { files: ['src/cli/**/*.ts', 'examples/**/*.ts', 'bench/**/*.ts', ...tests, ...scripts], rules: { 'no-console': 'off' } },
  {
    files: ['examples/**/*.ts'],
    ignores: tests,
    rules: {
      'no-restricted-imports': [
        'error',
        { patterns: [{ group: ['**/src/**'], message: "An example imports what a user can: 'tidemark' and its subpaths." }] },
      ],
    },
  },
  { files: tests, rules: { '@typescript-eslint/no-dynamic-delete': 'off' } },
  { files: neededByTools, rules: { 'import-x/no-default-export': 'off' } },
)
