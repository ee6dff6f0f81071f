import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * Says at once that it trains; where it is told how many lines, waits as long as it is told, and prints them at
 * irregular times. Each line has when it was written, seconds since the epoch.
 */
const TRAINING = `import random, sys, time

def say(what):
    print("%s at %.6f" % (what, time.time()), flush=True)

say("trains")
if len(sys.argv) > 1:
    quiet, lines, shortest, longest = float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    time.sleep(quiet)
    for number in range(lines):
        time.sleep(shortest * (longest / shortest) ** random.random())
        say("line %d" % number)
    say("over")
`;
/** An executor that does nothing, for what Nx itself takes. */
const NOTHING = `exports.default = async () => {
  console.log('nothing');
  return { success: true };
};
`;
const PACKAGE = 'nx-ec2';
/** Long ago: nothing looks as if it had just been written. */
export const WRITTEN = new Date('2024-01-01T00:00:00Z');

/** Makes a workspace with one project, `model`. The packages of the repository are linked, as if npm had installed them. */
export function makeWorkspace(workspace: string, root: string): void {
  rmSync(workspace, { recursive: true, force: true });
  put(workspace, {
    'package.json': { name: 'bench', private: true },
    'nx.json': { analytics: false },
    'model/project.json': {
      name: 'model',
      projectType: 'application',
      targets: { nothing: { executor: './nothing:nothing' } },
    },
    'model/train.py': TRAINING,
    'nothing/package.json': { name: 'nothing', executors: './executors.json' },
    'nothing/executors.json': {
      executors: { nothing: { implementation: './nothing.js', schema: './schema.json' } },
    },
    'nothing/schema.json': { version: 2, outputCapture: 'direct-nodejs', type: 'object', properties: {} },
    'nothing/nothing.js': NOTHING,
    '.gitignore': 'node_modules\n.nx\n',
  });
  const modules = join(workspace, 'node_modules');
  mkdirSync(modules);
  for (const name of readdirSync(join(root, 'node_modules')))
    if (name !== '.cache' && name !== PACKAGE) symlinkSync(join(root, 'node_modules', name), join(modules, name));
  execFileSync('git', ['init', '-q'], { cwd: workspace });
}

/** Installs the plugin from its tarball and configures it as its documentation says: Nx infers the targets. */
export function installPlugin(workspace: string, tarball: string): void {
  const target = join(workspace, 'node_modules', PACKAGE);
  mkdirSync(target);
  execFileSync('tar', ['xzf', tarball, '-C', target, '--strip-components=1']);
  put(workspace, {
    'nx.json': { analytics: false, plugins: [{ plugin: PACKAGE, options: { bucket: 'bench' } }] },
    'model/ec2.config.json': { train: { script: 'train.py', environment: 'none' } },
  });
}

export function commitAll(workspace: string): void {
  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=bench', '-c', 'user.email=bench@localhost', ...args], { cwd: workspace });
  git('add', '-A');
  git('commit', '-qm', 'The input');
}

function put(workspace: string, files: Record<string, string | object>): void {
  for (const [path, content] of Object.entries(files)) {
    const file = join(workspace, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, typeof content === 'string' ? content : `${JSON.stringify(content, null, 2)}\n`);
    utimesSync(file, WRITTEN, WRITTEN);
  }
}
