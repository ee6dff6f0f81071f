// The tarball must hold what a user needs and nothing else.
import { execFileSync } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
execFileSync('npm', ['run', '--silent', 'build'], { cwd: root, stdio: 'inherit' });
const [{ files }] = JSON.parse(execFileSync('npm', ['pack', '--dry-run', '--json'], { cwd: root, encoding: 'utf8' }));
const paths = files.map(({ path }) => path);
const needed = [
  'LICENSE',
  'README.md',
  'package.json',
  'executors.json',
  'ec2.config.schema.json',
  'dist/index.js',
  'dist/index.d.ts',
  'dist/cli/main.js',
  'dist/remote/bootstrap.py',
  'dist/remote/main.py',
  'dist/remote/tail.py',
  'dist/local-aws/server.js',
  'dist/local-aws/session/terminal.py',
  'dist/local-aws/instance/shutdown.py',
  'dist/local-aws/instance/cloud_init.py',
  'dist/command/session/shell.py',
  'dist/cli/data-key.js',
  'generators.json',
  ...['init', 'training-targets', 'training-project', 'aws-setup'].flatMap((name) => [
    `dist/generators/${name}/generator.js`,
    `dist/generators/${name}/schema.json`,
  ]),
  'dist/generators/training-project/files/common/train.py.template',
  ...[
    'sync',
    'watch',
    'train',
    'submit',
    'logs',
    'status',
    'cancel',
    'pull',
    'exec',
    'shell',
    'up',
    'down',
    'doctor',
  ].flatMap((name) => [`dist/executors/remote-${name}/executor.js`, `dist/executors/remote-${name}/schema.json`]),
];
const missing = needed.filter((path) => !paths.includes(path));
const stray = paths.filter(
  (path) =>
    !/^(dist\/|LICENSE$|README\.md$|package\.json$|executors\.json$|generators\.json$|ec2\.config\.schema\.json$)/.test(
      path,
    ) || /spec\.|fixture|__pycache__|\/tests\//.test(path),
);
if (missing.length || stray.length) {
  console.error(
    `missing from the package: ${missing.join(', ') || 'nothing'}\nnot to be in it: ${stray.join(', ') || 'nothing'}`,
  );
  process.exit(1);
}
console.log(`The package holds ${paths.length} files, all that is needed and nothing else.`);
