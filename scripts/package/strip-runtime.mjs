// Copies the runtime without annotations, docstrings and comments: for the package, and for the specs, which run what is shipped.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const program = join(root, 'scripts/package/strip_runtime.py');
const source = join(root, 'src/runtime');

export function stripRuntime(target) {
  execFileSync('python3', ['-B', program, source, target], { stdio: 'inherit' });
}

/** Jest's globalSetup: .cache/runtime is what src/runtime is now. */
export default function setup() {
  const target = join(root, '.cache/runtime');
  const stamp = join(target, 'stamp');
  const now = hashOfSources();
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === now) return;
  stripRuntime(target);
  writeFileSync(stamp, now);
}

function hashOfSources() {
  const hash = createHash('sha256').update(readFileSync(program));
  for (const path of readdirSync(source, { recursive: true, encoding: 'utf8' }).sort())
    if (path.endsWith('.py') && !path.startsWith('tests')) hash.update(path).update(readFileSync(join(source, path)));
  return hash.digest('hex');
}
