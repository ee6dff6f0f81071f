// npm run bench: builds the plugin and the benchmark, then runs it; `npm run bench -- --help`.
import { execFileSync } from 'node:child_process';
import { cpSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const require = createRequire(import.meta.url);
const run = (...args) => execFileSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
try {
  run(join(root, 'scripts/package/build.mjs'));
  run(require.resolve('typescript/bin/tsc'), '-p', join(root, 'bench'));
  // What instances of local AWS run.
  const filter = (path) => statSync(path).isDirectory() || path.endsWith('.py');
  cpSync(join(root, 'src/local-aws'), join(root, '.cache/bench/js/src/local-aws'), { recursive: true, filter });
  run(join(root, '.cache/bench/js/bench/main.js'), ...process.argv.slice(2));
} catch (error) {
  process.exitCode = error.status || 1;
}
