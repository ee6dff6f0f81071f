// Builds dist/, which is the package: one bundle, its entry points, declarations, schemas, templates, and the runtime without types and
// comments. build/ has the same as modules, for the scripts of this repository.
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRequire } from 'node:module';
import { bundle } from './bundle.mjs';
import { buildPage } from './page.mjs';
import { stripRuntime } from './strip-runtime.mjs';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const require = createRequire(import.meta.url);

for (const directory of ['build', 'dist']) rmSync(join(root, directory), { recursive: true, force: true });
execFileSync(process.execPath, [require.resolve('typescript/bin/tsc'), '-p', join(root, 'tsconfig.build.json')], {
  stdio: 'inherit',
});
keepDeclarationsOf('index.d.ts');
useDevkitAlias();
copyOtherFiles(join(root, 'build'));
stripRuntime(join(root, 'build/runtime'));
const { packModules } = require(join(root, 'build/command/runtime-program.js'));
writeFileSync(join(root, 'build/runtime/modules.z'), packModules());

copyOtherFiles(join(root, 'dist'));
cpSync(join(root, 'build/runtime'), join(root, 'dist/runtime'), { recursive: true });
const ofPage = await buildPage(join(root, 'dist/ui'));
await bundle(join(root, 'dist'), ofPage);
chmodSync(join(root, 'dist/cli/main.js'), 0o755);

/** Removes the declarations that the given one does not import: nothing else of the package can be imported. */
function keepDeclarationsOf(main) {
  const dist = join(root, 'dist');
  const kept = new Set([main]);
  for (const name of kept)
    for (const [, path] of readFileSync(join(dist, name), 'utf8').matchAll(/from '(\.[^']*)'/g))
      kept.add(join(dirname(name), `${path}.d.ts`));
  for (const name of readdirSync(dist, { recursive: true }))
    if (name.endsWith('.d.ts') && !kept.has(name)) rmSync(join(dist, name));
}

/** Copies what tsc leaves behind: schemas, templates, programs in Python. */
function copyOtherFiles(to) {
  cpSync(join(root, 'src'), to, {
    recursive: true,
    filter: (from) => {
      if (from === join(root, 'src/runtime')) return false;
      if (/\/generators\/[^/]+\/files\//.test(from)) return true;
      if (from === join(root, 'src/ui/page')) return false;
      return !from.endsWith('.ts') && from !== join(root, 'src/start.js');
    },
  });
}

/**
 * Makes the declarations import @nx/devkit as nx-ec2-devkit, the alias under which package.json depends on it. By its own
 * name a package manager would put it in the root of a workspace, where `nx report` and `nx migrate` compare it with Nx.
 */
function useDevkitAlias() {
  for (const name of readdirSync(join(root, 'dist'), { recursive: true })) {
    if (!name.endsWith('.d.ts')) continue;
    const path = join(root, 'dist', name);
    const text = readFileSync(path, 'utf8');
    const aliased = text.replace(/(\bimport\(|\bfrom )(['"])@nx\/devkit\2/g, '$1$2nx-ec2-devkit$2');
    if (aliased !== text) writeFileSync(path, aliased);
  }
}
