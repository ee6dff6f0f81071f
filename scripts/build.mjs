// Builds dist/: compiles the TypeScript and copies what tsc leaves behind (schemas, templates); the runtime is stripped.
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRequire } from 'node:module';
import { stripRuntime } from './strip-runtime.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);

rmSync(join(root, 'dist'), { recursive: true, force: true });
execFileSync(process.execPath, [require.resolve('typescript/bin/tsc'), '-p', join(root, 'tsconfig.build.json')], {
  stdio: 'inherit',
});
useDevkitAlias();
cpSync(join(root, 'src'), join(root, 'dist'), {
  recursive: true,
  filter: (from) => {
    if (from === join(root, 'src/runtime')) return false;
    if (/\/generators\/[^/]+\/files\//.test(from)) return true;
    return !from.endsWith('.ts');
  },
});
stripRuntime(join(root, 'dist/runtime'));
chmodSync(join(root, 'dist/cli/main.js'), 0o755);
const { packModules } = require(join(root, 'dist/command/runtime-program.js'));
writeFileSync(join(root, 'dist/runtime/modules.z'), packModules());

/**
 * Makes the compiled files import @nx/devkit as nx-ec2-devkit, the alias under which package.json depends on it. By its own
 * name a package manager would put it in the root of a workspace, where `nx report` and `nx migrate` compare it with Nx.
 */
function useDevkitAlias() {
  for (const name of readdirSync(join(root, 'dist'), { recursive: true })) {
    if (!/\.(js|d\.ts)$/.test(name)) continue;
    const path = join(root, 'dist', name);
    const text = readFileSync(path, 'utf8');
    const aliased = text.replace(/(\brequire\(|\bimport\(|\bfrom )(['"])@nx\/devkit\2/g, '$1$2nx-ec2-devkit$2');
    if (aliased !== text) writeFileSync(path, aliased);
  }
}
