// Builds dist/: compiles the TypeScript and copies what tsc leaves behind (schemas, templates, the remote side).
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createRequire } from 'node:module';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);

rmSync(join(root, 'dist'), { recursive: true, force: true });
execFileSync(process.execPath, [require.resolve('typescript/bin/tsc'), '-p', join(root, 'tsconfig.build.json')], {
  stdio: 'inherit',
});
cpSync(join(root, 'src'), join(root, 'dist'), {
  recursive: true,
  filter: (from) => {
    if (/(^|\/)(__pycache__|tests)(\/|$)/.test(from)) return false;
    if (/\/generators\/[^/]+\/files\//.test(from)) return true;
    return !from.endsWith('.ts');
  },
});
chmodSync(join(root, 'dist/cli/main.js'), 0o755);
const { packModules } = require(join(root, 'dist/command/remote-side.js'));
writeFileSync(join(root, 'dist/remote/modules.z'), packModules());
