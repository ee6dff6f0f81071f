// Makes an Nx workspace from examples/ with the packed plugin installed in it: node scripts/workspace/make-workspace.mjs DIRECTORY [NX_VERSION]
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as tar from 'tar';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** A registry that does not answer is asked again after a minute, where npm itself waits for five. */
const PATIENCE = ['--fetch-timeout=60000', '--fetch-retries=5'];

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
  const like = installedLike(manifest.devDependencies.nx);
  if (like) takeInstalled(like, directory, tarball);
  else run('npm', ['install', '--no-audit', '--no-fund', '--silent', '--prefer-offline', ...PATIENCE]);
  run('git', ['init', '-q']);
  run('git', ['add', '-A']);
  run('git', ['-c', 'user.name=demo', '-c', 'user.email=demo@localhost', 'commit', '-qm', 'The examples']);
}

/** A workspace that has the same installed, of those that NX_EC2_WORKSPACES holds. */
function installedLike(nxVersion) {
  const made = process.env.NX_EC2_WORKSPACES && join(process.env.NX_EC2_WORKSPACES, nxVersion);
  return made && existsSync(join(made, 'node_modules')) ? made : null;
}

/** Installs only the tarball again; the other files are links to the same files if the disk supports it. */
function takeInstalled(from, directory, tarball) {
  cpSync(join(from, 'package-lock.json'), join(directory, 'package-lock.json'));
  const take = (path) => {
    mkdirSync(join(directory, path));
    for (const entry of readdirSync(join(from, path), { withFileTypes: true })) {
      const [source, target] = [from, directory].map((root) => join(root, path, entry.name));
      if (entry.isDirectory()) take(join(path, entry.name));
      else if (entry.isSymbolicLink()) symlinkSync(readlinkSync(source), target);
      else link(source, target);
    }
  };
  take('node_modules');
  const plugin = join(directory, 'node_modules/nx-ec2');
  rmSync(plugin, { recursive: true });
  mkdirSync(plugin);
  tar.extract({ sync: true, file: join(directory, tarball), cwd: plugin, strip: 1 });
}

function link(source, target) {
  try {
    linkSync(source, target);
  } catch (error) {
    if (error.code !== 'EXDEV' && error.code !== 'EPERM') throw error;
    copyFileSync(source, target);
  }
}

/** The tarball's name, in the directory: the one that NX_EC2_TARBALL names, else one of what is here. */
function pack(directory, run) {
  const made = process.env.NX_EC2_TARBALL;
  if (made) {
    cpSync(made, join(directory, basename(made)));
    return basename(made);
  }
  run(process.execPath, [join(root, 'scripts/package/build.mjs')], root);
  return run('npm', ['pack', '--silent', '--pack-destination', directory], root).trim().split('\n').pop();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) makeWorkspace(resolve(process.argv[2]), process.argv[3]);
