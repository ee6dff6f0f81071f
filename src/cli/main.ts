#!/usr/bin/env node
import { fileProblem } from '../report/file-problem';
import { outputFailure } from '../report/output-stream';
import { printableLines } from '../report/terminal-text';
import { program } from './program';
import { UNKNOWN_EXIT_CODE } from './run-exit-code';

// A file that took only a part of the output must not look like a success.
process.on('exit', (code) => {
  const failure = outputFailure();
  if (code !== 0 || !failure) return;
  console.error(`error: could not write the output: ${printableLines(failure.message)}`);
  process.exitCode = process.argv[2] === 'runs' ? UNKNOWN_EXIT_CODE : 1;
});

program.parseAsync().catch((error: Error & { exitCode?: number }) => {
  console.error(`error: ${printableLines((fileProblem(error) ?? error).message)}`);
  process.exitCode = error.exitCode ?? 1;
});
