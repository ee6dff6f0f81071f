// The tarball must hold what a user needs and nothing else.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ENTRY_POINTS } from './bundle.mjs';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
execFileSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: 'inherit' });
for (const script of ['schemas', 'shared-schema', 'reference-pages'])
  execFileSync(process.execPath, [join(root, `scripts/generate/${script}.mjs`), '--check'], { stdio: 'inherit' });
const [{ files }] = JSON.parse(execFileSync('npm', ['pack', '--dry-run', '--json'], { cwd: root, encoding: 'utf8' }));
const paths = files.map(({ path }) => path);
/** A template that scaffolds a test is for users. */
const isOfTests = (path) =>
  !path.endsWith('.template') && /spec\.|fixture|__pycache__|(^|\/)tests\/|(^|\/)test_/.test(path);
/** What the bundle does not hold, so that a file that is renamed or added is expected without a list to keep. */
const copied = readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(root, join(entry.parentPath, entry.name)))
  .filter((path) => !isOfTests(path) && !path.endsWith('.ts') && !path.startsWith('src/ui/page/'))
  .map((path) => path.replace(/^src\//, 'dist/'));
const entryPoints = ['program', 'start', ...ENTRY_POINTS].map((path) => `dist/${path}.js`);
/** The pages that the README names: an installed package has no repository beside it. */
const linked = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/\]\(([\w./-]+)\)/g)].map(
  (match) => match[1],
);
const needed = [
  ...linked,
  'LICENSE',
  'README.md',
  'package.json',
  'executors.json',
  'generators.json',
  'ec2.config.schema.json',
  'dist/index.d.ts',
  'dist/THIRD-PARTY-LICENSES.txt',
  'dist/ui/index.html',
  'dist/ui/page.js',
  'dist/ui/page.css',
  ...entryPoints,
  ...copied,
];
const missing = needed.filter((path) => !paths.includes(path));
const stray = paths.filter(
  (path) =>
    !/^(dist\/|docs\/.+\.(md|svg)$|[A-Z]+\.md$|LICENSE$|package\.json$|executors\.json$|generators\.json$|ec2\.config\.schema\.json$)/.test(
      path,
    ) || isOfTests(path),
);
if (missing.length || stray.length) {
  console.error(
    `missing from the package: ${missing.join(', ') || 'nothing'}\nnot to be in it: ${stray.join(', ') || 'nothing'}`,
  );
  process.exit(1);
}
// The tests run against @nx/devkit, users against its alias: both must be the same version.
const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
const { dependencies, devDependencies } = lock[''];
const wanted = `npm:@nx/devkit@${devDependencies['@nx/devkit']}`;
const [tested, shipped] = ['@nx/devkit', 'nx-ec2-devkit'].map((name) => lock[`node_modules/${name}`]?.version);
const unaliased = paths.filter(
  (path) =>
    /\.(js|d\.ts)$/.test(path) &&
    /(require\(|import\(|from )['"]@nx\/devkit/.test(readFileSync(join(root, path), 'utf8')),
);
if (dependencies['nx-ec2-devkit'] !== wanted || tested !== shipped || unaliased.length) {
  console.error(
    `nx-ec2-devkit must be ${wanted}, and ${tested} in package-lock.json: it is ${dependencies['nx-ec2-devkit']}, ${shipped}.\n` +
      `Files that import @nx/devkit itself: ${unaliased.join(', ') || 'none'}`,
  );
  process.exit(1);
}
console.log(`The package holds ${paths.length} files, all that is needed and nothing else.`);
