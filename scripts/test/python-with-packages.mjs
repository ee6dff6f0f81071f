// Runs tests of src/runtime/tests that need a Python with certain packages.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const INSTALL_TIMEOUT_MS = 30 * 60_000;

/**
 * Runs the tests with a Python that a variable names, else with one in .cache, into which the packages are installed once.
 * Skipped, with the reason, if they can't be installed; with --required that is a failure.
 * @param options `name`: of what is tested; `module`: one that Python must be able to import; `installs`: arguments for pip, each of
 * which is tried.
 */
export function testWithPackages({ name, variable, module, pattern, installs }) {
  const directory = join(root, '.cache', name);
  const python = process.env[variable] ?? installed();
  const { status: missing } = spawnSync(python, ['-c', `import ${module}`], { stdio: 'inherit' });
  if (missing !== 0) skip(`${python} has no ${name}.`);
  const tests = join(root, 'src/runtime/tests');
  const { status } = spawnSync('python3', ['-B', '-m', 'unittest', 'discover', '-v', '-s', tests, '-p', pattern], {
    stdio: 'inherit',
    env: { ...process.env, [variable]: python },
  });
  process.exit(status ?? 1);

  function skip(why) {
    console.log(`\nSKIPPED: the launcher was not tested with real ${name}. ${why}`);
    process.exit(process.argv.includes('--required') ? 1 : 0);
  }

  function installed() {
    const found = join(directory, 'bin/python');
    if (existsSync(join(directory, 'installed'))) return found;
    rmSync(directory, { recursive: true, force: true });
    if (run('python3', ['-m', 'venv', directory]) !== 0) skip("python3 can't make a virtual environment.");
    const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'];
    console.log(`Installing ${name} into ${directory}, once.`);
    if (!installs.some((options) => run(found, [...install, ...options]) === 0)) skip(`${name} can't be installed.`);
    mkdirSync(join(directory, 'new'));
    renameSync(join(directory, 'new'), join(directory, 'installed'));
    return found;
  }
}

function run(program, args) {
  return spawnSync(program, args, { stdio: 'inherit', timeout: INSTALL_TIMEOUT_MS }).status;
}
