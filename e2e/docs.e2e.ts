import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { blocksOf, isMarkedNotRun, teachingPages, type Block } from '../src/projects/docs.fixture';

const root = join(__dirname, '..');
const pages = teachingPages()
  .map((page) => [page, blocksOf(page).filter((block) => block.language === 'sh' && !isMarkedNotRun(block))] as const)
  .filter(([, blocks]) => blocks.length);
const isTutorial = ([page]: readonly [string, readonly Block[]]) => page.startsWith('docs/tutorial/');

/** Every command of the tutorials and how-to guides that does not say why it can't be run, as a reader would type it. */
describe.each([
  ['tutorials', pages.filter(isTutorial)],
  ['how-to guides', pages.filter((each) => !isTutorial(each))],
])('the commands of the %s', (kind, own) => {
  const workspace = join(mkdtempSync(join(tmpdir(), 'nx-ec2-docs-')), 'workspace');
  let local: ChildProcess;
  let environment: NodeJS.ProcessEnv;

  beforeAll(async () => {
    execFileSync(process.execPath, [join(root, 'scripts/workspace/make-workspace.mjs'), workspace, '23.2.1'], {
      stdio: 'inherit',
    });
    if (kind === 'how-to guides') addProjects(workspace);
    git('branch', '-M', 'main');
    git('add', '-A');
    const author = ['-c', 'user.name=docs', '-c', 'user.email=docs@localhost'];
    git(...author, 'commit', '-q', '--allow-empty', '-m', 'The projects of the guides');
    local = spawn(process.execPath, ['node_modules/nx-ec2/dist/cli/main.js', 'local-aws', '--port', '0', '--json'], {
      cwd: workspace,
    });
    const started = await new Promise<{ environment: NodeJS.ProcessEnv }>((resolve) =>
      local.stdout!.once('data', (data: Buffer) => resolve(JSON.parse(data.toString()))),
    );
    environment = {
      ...process.env,
      ...started.environment,
      NX_DAEMON: 'false',
      NX_TUI: 'false',
      NX_EC2_CACHE_DIRECTORY: join(workspace, '../cache'),
      CI: '',
    };
  });

  afterAll(async () => {
    local.kill('SIGTERM');
    await new Promise((resolve) => local.once('exit', resolve));
    rmSync(join(workspace, '..'), { recursive: true });
  });

  const git = (...args: string[]) => execFileSync('git', args, { cwd: workspace });

  it.each(own)('%s', (page, blocks) => {
    for (const { line, text } of blocks) {
      const { status, stdout, stderr } = spawnSync('bash', ['-euo', 'pipefail', '-c', text], {
        cwd: workspace,
        env: environment,
        encoding: 'utf8',
      });
      if (status !== 0)
        throw new Error(`${page}:${line} ended with ${status}:\n${text}\n${stripVTControlCharacters(stdout + stderr)}`);
    }
    // The next page begins where this one did.
    git('checkout', '-q', '.');
    git('clean', '-qfd');
  });
});

/** The projects that the guides speak of, beside those of the examples. */
function addProjects(workspace: string): void {
  const project = (
    directory: string,
    name: string,
    files: Record<string, string>,
    implicitDependencies: string[] = [],
  ) => {
    mkdirSync(join(workspace, directory), { recursive: true });
    writeFileSync(join(workspace, directory, 'project.json'), JSON.stringify({ name, implicitDependencies }));
    for (const [path, text] of Object.entries(files)) writeFileSync(join(workspace, directory, path), text);
  };
  // The examples' own project, which saves checkpoints and resumes from them.
  cpSync(join(workspace, 'digits'), join(workspace, 'model'), { recursive: true });
  const config = readFileSync(join(workspace, 'model/ec2.config.json'), 'utf8');
  project('model', 'model', { 'ec2.config.json': config.replace('--epochs 8', '--epochs 3') }, ['dataset']);
  project('models/names', 'names', {
    'names.py':
      'import json, os\nos.makedirs("out", exist_ok=True)\nwith open("out/names.json", "w") as file:\n    json.dump([], file)\n',
  });
  project('models/hello', 'hello', {
    'train.py': 'print("epoch 1: loss=0.5")\n',
    'ec2.config.json': JSON.stringify({
      instance: { type: 't3.medium', instanceProfile: 'nx-ec2' },
      train: { script: 'train.py', environment: 'none' },
    }),
  });
}
