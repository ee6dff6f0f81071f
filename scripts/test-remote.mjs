// Runs the remote side's own tests with python3, or with each interpreter named in NX_EC2_TEST_PYTHONS (separated by colons).
import { execFileSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
for (const python of (process.env.NX_EC2_TEST_PYTHONS ?? 'python3').split(':')) {
  console.log(`The remote side on ${execFileSync(python, ['--version'], { encoding: 'utf8' }).trim()}`);
  execFileSync(python, ['-B', '-m', 'unittest', 'discover', '-s', join(root, 'src/remote/tests'), '-v'], {
    stdio: 'inherit',
  });
}
