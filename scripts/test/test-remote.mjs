// Runs the runtime's own tests with python3, or with each interpreter named in NX_EC2_TEST_PYTHONS (separated by colons): each file
// in a process of its own, as many at once as there are processors. Arguments choose files by a part of their names.
import { execFileSync, spawn } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findPythonDirectly } from './direct-python.js';

findPythonDirectly();

const directory = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'src/runtime/tests');
const chosen = process.argv.slice(2);
/** Of one file, ms. One that takes longer hangs: it is ended, and says where each of its threads was. */
const LIMIT_MS = 20 * 60_000;
const size = (file) => statSync(join(directory, file)).size;
const files = readdirSync(directory)
  .filter((file) => /^test_.*\.py$/.test(file) && (!chosen.length || chosen.some((part) => file.includes(part))))
  // The longest first, so that none is alone in the end.
  .sort((a, b) => size(b) - size(a));

/** Resolves to the exit code; the output is shown when it has ended. */
function run(python, file) {
  const args = ['-X', 'faulthandler', '-B', '-m', 'unittest', 'discover', '-s', directory, '-p', file, '-v'];
  const began = Date.now();
  const parts = [];
  const child = spawn(python, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LIMIT_MS,
    killSignal: 'SIGABRT',
  });
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => parts.push(data));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      const seconds = ((Date.now() - began) / 1000).toFixed(1);
      process.stdout.write(`\n# ${file}, ${seconds} s${signal ? `, ended by ${signal}` : ''}\n${Buffer.concat(parts)}`);
      resolve(code);
    });
  });
}

for (const python of (process.env.NX_EC2_TEST_PYTHONS ?? 'python3').split(':')) {
  console.log(`The runtime on ${execFileSync(python, ['--version'], { encoding: 'utf8' }).trim()}`);
  const waiting = [...files];
  const failed = [];
  const work = async () => {
    for (let file = waiting.shift(); file; file = waiting.shift())
      if ((await run(python, file)) !== 0) failed.push(file);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  if (failed.length) {
    console.error(`Failed on ${python}: ${failed.join(', ')}`);
    process.exit(1);
  }
}
