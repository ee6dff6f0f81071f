// Makes an Nx workspace from examples/ with the packed plugin installed in it: node scripts/make-workspace.mjs DIRECTORY [NX_VERSION]
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

export function makeWorkspace(directory, nxVersion) {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  cpSync(join(root, 'examples'), directory, {
    recursive: true,
    filter: (from) => !/(node_modules|artifacts|\.nx|\.venv|\/tides\/data)$/.test(from),
  });
  const run = (command, args, cwd = directory) =>
    execFileSync(command, args, {
      cwd,
      stdio: ['ignore', 'pipe', 'inherit'],
      encoding: 'utf8',
      env: { ...process.env, NX_DAEMON: 'false' },
    });
  const tarball = pack(directory, run);
  const manifest = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  if (nxVersion) manifest.devDependencies.nx = nxVersion;
  manifest.devDependencies['nx-ec2'] = `file:./${tarball}`;
  writeFileSync(join(directory, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  run('npm', ['install', '--no-audit', '--no-fund', '--silent']);
  run('git', ['init', '-q']);
  run('git', ['add', '-A']);
  run('git', ['-c', 'user.name=demo', '-c', 'user.email=demo@localhost', 'commit', '-qm', 'The examples']);
}

/** The tarball's name, in the directory: the one that NX_EC2_TARBALL names, else one of what is here. */
function pack(directory, run) {
  const made = process.env.NX_EC2_TARBALL;
  if (made) {
    cpSync(made, join(directory, basename(made)));
    return basename(made);
  }
  run(process.execPath, [join(root, 'scripts/build.mjs')], root);
  return run('npm', ['pack', '--silent', '--pack-destination', directory], root).trim().split('\n').pop();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) makeWorkspace(resolve(process.argv[2]), process.argv[3]);
