// Builds the page of `nx-ec2 ui`, three files that need no other one and no network: node scripts/package/page.mjs <directory>
import { cpSync, mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const source = join(root, 'src/ui/page');

/** @returns the files that went into it, relative to the repository. */
export async function buildPage(directory) {
  mkdirSync(directory, { recursive: true });
  const { metafile } = await build({
    entryPoints: [
      { in: join(source, 'main.tsx'), out: 'page' },
      { in: join(source, 'page.css'), out: 'page' },
    ],
    outdir: directory,
    absWorkingDir: root,
    bundle: true,
    minify: true,
    platform: 'browser',
    format: 'esm',
    target: ['chrome109', 'firefox115', 'safari16'],
    tsconfig: join(source, 'tsconfig.json'),
    legalComments: 'none',
    logLevel: 'warning',
    metafile: true,
  });
  cpSync(join(source, 'index.html'), join(directory, 'index.html'));
  return Object.keys(metafile.inputs);
}

if (resolve(process.argv[1] ?? '') === fileURLToPath(import.meta.url)) await buildPage(process.argv[2]);
