import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';

/** Whatever inflates: without a limit, a few bytes become gigabytes. */
const INFLATES =
  '/^(inflate|inflateRaw|gunzip|unzip|brotliDecompress|zstdDecompress)(Sync)?$|^create(Inflate|InflateRaw|Gunzip|Unzip|BrotliDecompress|ZstdDecompress)$|^(Inflate|InflateRaw|Gunzip|Unzip|BrotliDecompress|ZstdDecompress)$/';
const ZLIB = '[source.value=/^(node:)?zlib$/]';
/** Requests that start, stop, terminate, cancel or delete what is in EC2: one folder sends them, after it has checked what EC2 says. */
const ENDING =
  '^(StartInstances|RebootInstances|StopInstances|TerminateInstances|DeleteFleets|ModifyFleet|CancelSpotInstanceRequests|CancelSpotFleetRequests|DeleteLaunchTemplate|DeleteLaunchTemplateVersions|DeleteVolume|DeletePlacementGroup)(Command)?$';
/** `{ ...{ a, b }, c }` is `{ a, b, c }`. */
const SPREAD_LITERAL = {
  selector: 'ObjectExpression > SpreadElement > ObjectExpression',
  message: 'Write the properties themselves instead of spreading an object literal.',
};
/** Sizes: lines without blank ones and comments. */
const SIZES = {
  'max-lines': ['error', { max: 300, skipBlankLines: true, skipComments: true }],
  'max-lines-per-function': ['error', { max: 60, skipBlankLines: true, skipComments: true }],
  'max-params': ['error', 5],
};
/** What only some files may write. */
const restrictions = [
  {
    only: ['src/system/bounded.ts'],
    selectors: [
      `ImportDeclaration${ZLIB} ImportSpecifier[imported.name=${INFLATES}]`,
      `ImportDeclaration${ZLIB} :matches(ImportNamespaceSpecifier, ImportDefaultSpecifier)`,
      `CallExpression[callee.name='require'][arguments.0.value=/^(node:)?zlib$/]`,
      `ImportExpression${ZLIB}`,
    ],
    message: 'Nothing is inflated without a limit: use src/system/bounded.ts.',
  },
  {
    only: ['src/instance/stop/**/*.ts', 'src/local-aws/**/*.ts'],
    selectors: [`:matches(Identifier[name=/${ENDING}/], Literal[value=/${ENDING}/])`],
    message: 'Only src/instance/stop sends this request, for what it has checked: see its managed.ts.',
  },
  {
    only: ['src/system/flush.ts'],
    selectors: [
      'CallExpression > MemberExpression.callee[property.name=/^(datasync|readv|readableWebStream|getAsyncId)$/]',
      'CallExpression > MemberExpression.callee[object.name=/^(file|handle|opened)$/i][property.name=/^(sync|utimes)$/]',
    ],
    message: "File handles of Yarn Plug'n'Play do not have this method: see src/system/flush.ts.",
  },
];

export default tseslint.config(
  {
    ignores: [
      'build/**',
      'dist/**',
      'node_modules/**',
      'examples/**',
      'src/generators/*/files/**',
      'demo/**',
      '.cache/**',
      'e2e/tmp/**',
      '.nx/**',
    ],
  },
  eslint.configs.recommended,
  ...tseslint.configs.recommended,
  {
    files: ['**/*.{ts,tsx}'],
    rules: {
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', ignoreRestSiblings: true },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      'no-control-regex': 'off',
    },
  },
  {
    files: ['**/*.{js,cjs,mjs}'],
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        module: 'writable',
        require: 'readonly',
        __dirname: 'readonly',
        URL: 'readonly',
        Buffer: 'readonly',
        setTimeout: 'readonly',
        clearTimeout: 'readonly',
      },
    },
    rules: { '@typescript-eslint/no-require-imports': 'off' },
  },
  { rules: { 'no-restricted-syntax': ['error', SPREAD_LITERAL] } },
  // A block of tests is one function, and a file of tests grows with the behavior that it shows.
  { files: ['src/**/*.{ts,tsx}'], ignores: ['**/*.spec.ts', '**/*.fixture.ts'], rules: SIZES },
  // One rule holds all restrictions, and a later configuration replaces it: where one does not apply, the others do.
  ...[
    { files: ['src/**/*.ts'], rules: restrictions },
    ...restrictions.map((one) => ({ files: one.only, rules: restrictions.filter((other) => other !== one) })),
  ].map(({ files, rules }) => ({
    files,
    ignores: ['**/*.spec.ts', '**/*.fixture.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        SPREAD_LITERAL,
        ...rules.flatMap(({ selectors, message }) => selectors.map((selector) => ({ selector, message }))),
      ],
    },
  })),
  {
    files: ['src/**/*.ts'],
    ignores: [
      'src/report/printer.ts',
      'src/cli/{main,cache-key,local-aws,ssh-proxy}.ts',
      'src/{generators,local-aws}/**',
      'src/run/shell/shell.ts',
      '**/*.spec.ts',
      '**/*.fixture.ts',
    ],
    rules: {
      'no-console': 'error',
      'no-restricted-properties': [
        'error',
        ...['stdout', 'stderr'].map((property) => ({
          object: 'process',
          property,
          message: 'What is printed goes through the Printer, which makes it safe to print.',
        })),
      ],
    },
  },
);
