// The tarball must hold what a user needs and nothing else.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
execFileSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: 'inherit' });
execFileSync(process.execPath, [join(root, 'scripts/schemas.mjs'), '--check'], { stdio: 'inherit' });
const [{ files }] = JSON.parse(execFileSync('npm', ['pack', '--dry-run', '--json'], { cwd: root, encoding: 'utf8' }));
const paths = files.map(({ path }) => path);
/** A template that scaffolds a test is for users. */
const isOfTests = (path) =>
  !path.endsWith('.template') && /spec\.|fixture|__pycache__|(^|\/)tests\/|(^|\/)test_/.test(path);
/** The built file of each source file, so that a file that is renamed or added is expected without a list to keep. */
const built = readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(root, join(entry.parentPath, entry.name)))
  .filter((path) => !isOfTests(path) && !path.endsWith('.d.ts'))
  .map((path) => path.replace(/^src\//, 'dist/').replace(/\.ts$/, '.js'));
const needed = [
  'LICENSE',
  'README.md',
  'package.json',
  'executors.json',
  'generators.json',
  'ec2.config.schema.json',
  'dist/index.d.ts',
  ...built,
];
const missing = needed.filter((path) => !paths.includes(path));
const stray = paths.filter(
  (path) =>
    !/^(dist\/|LICENSE$|README\.md$|package\.json$|executors\.json$|generators\.json$|ec2\.config\.schema\.json$)/.test(
      path,
    ) || isOfTests(path),
);
if (missing.length || stray.length) {
  console.error(
    `missing from the package: ${missing.join(', ') || 'nothing'}\nnot to be in it: ${stray.join(', ') || 'nothing'}`,
  );
  process.exit(1);
}
console.log(`The package holds ${paths.length} files, all that is needed and nothing else.`);
