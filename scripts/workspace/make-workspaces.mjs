// Makes a workspace from examples/ for each version of Nx, below one directory: node scripts/workspace/make-workspaces.mjs DIRECTORY VERSION,VERSION
import { execFile } from 'node:child_process';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const [directory, versions] = process.argv.slice(2);
const script = join(dirname(fileURLToPath(import.meta.url)), 'make-workspace.mjs');
// At once: most of the time they wait for the registry.
await Promise.all(
  versions
    .split(',')
    .map((version) => promisify(execFile)(process.execPath, [script, join(resolve(directory), version), version])),
);
console.log(`Workspaces with Nx ${versions.replaceAll(',', ', ')} are made.`);
