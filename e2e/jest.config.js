const base = require('../jest.config');

/** The packed tarball in a real Nx workspace, against local AWS. */
module.exports = {
  ...base,
  rootDir: '..',
  roots: ['<rootDir>/e2e'],
  testMatch: ['**/*.e2e.ts'],
  // Far more than an idle machine needs, and more than any wait of a test: a wait that fails says what it waited for.
  testTimeout: 1_200_000,
  // Of it.concurrent, in each worker: each is a process of Nx or several.
  maxConcurrency: 4,
  // Without a tarball each file makes one, by a build that all of them share.
  maxWorkers: process.env.NX_EC2_TARBALL ? 2 : 1,
};
