const { availableParallelism } = require('node:os');
const { findPythonDirectly } = require('./scripts/test/direct-python');

findPythonDirectly();

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';

/** Unit and integration tests: `*.spec.ts` beside the code. The end-to-end suite has its own configuration in e2e/. */
module.exports = {
  testEnvironment: 'node',
  roots: ['<rootDir>/src', '<rootDir>/bench'],
  testMatch: ['**/*.spec.ts'],
  globalSetup: '<rootDir>/scripts/package/strip-runtime.mjs',
  moduleNameMapper: {
    '/runtime-directory$': '<rootDir>/src/command/runtime-directory.fixture.ts',
    '^fast-check$': '<rootDir>/scripts/test/fast-check.js',
  },
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      { jsc: { target: 'es2022', parser: { syntax: 'typescript' } }, module: { type: 'commonjs' } },
    ],
  },
  // Most of the time they wait for processes and for deadlines: with one worker a processor, processors are idle.
  // A number: Jest reads a percentage above 100 as the number of workers.
  maxWorkers: Math.ceil(availableParallelism() * 1.5),
  // Far more than an idle machine needs: the processors may be busy with other work.
  testTimeout: 300_000,
};
