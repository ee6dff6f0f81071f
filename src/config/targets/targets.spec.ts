import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { settingsDigest } from './result-settings';
import { inferTargets, type Inference } from './targets';

const train = { script: 'train.py', args: '--epochs 3' };

const NAMES = [
  'remote-sync',
  'remote-watch',
  'remote-logs',
  'remote-status',
  'remote-cancel',
  'remote-pull',
  'remote-exec',
  'remote-shell',
  'remote-forward',
  'remote-tensorboard',
  'remote-jupyter',
  'remote-ssh-config',
  'remote-up',
  'remote-down',
  'remote-doctor',
  'remote-submit',
  'remote-train',
];

describe('the targets of a project', () => {
  let workspaceRoot: string;
  beforeAll(() => {
    workspaceRoot = mkdtempSync(join(tmpdir(), 'nx-ec2-targets-'));
    writeFileSync(join(workspaceRoot, 'pyproject.toml'), '[project]\nname = "x"\n');
    writeFileSync(join(workspaceRoot, 'uv.lock'), '');
    writeFileSync(join(workspaceRoot, 'requirements.txt'), '');
  });
  afterAll(() => rmSync(workspaceRoot, { recursive: true }));

  const infer = (merged: Inference['merged'], more: Partial<Inference> = {}) =>
    inferTargets({ workspaceRoot, projectRoot: 'models/m', merged, names: {}, namedInput: true, ...more });

  it('exist also without a script', () => {
    expect(Object.keys(infer({}))).toEqual(NAMES);
  });

  it("have Ray's dashboard where the launcher is Ray", () => {
    expect(infer({ train: { ...train, launcher: 'ray' } })).toHaveProperty('remote-dashboard');
  });

  it('are cached only for remote-train', () => {
    for (const [name, { cache }] of Object.entries(infer({ train }))) expect(cache).toBe(name === 'remote-train');
  });

  it('are not cached if Nx would read the path of the project or of an output as a pattern', () => {
    const cached = (projectRoot: string, ...outputs: string[]) =>
      infer({ train: { ...train, outputs } }, { projectRoot })['remote-train'].cache;
    const plain = fc.array(fc.constantFrom(...'ab-_.@+,~ $#é/'), { maxLength: 6 }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(plain, fc.constantFrom(...'*?[]{}()!\\'), plain, (before, special, after) => {
        expect(cached(`m${before}${after}x`, 'runs/*/model.bin')).toBe(true);
        expect(cached(`m${before}${special}${after}x`)).toBe(false);
      }),
    );
    for (const output of ['out (1)', '!(a)', 'a!b', 'a\\*b']) expect(cached('m', output)).toBe(false);
  });

  it('run no sync before a training that may be a cache hit', () => {
    for (const target of Object.values(infer({ train }))) {
      expect(target.dependsOn).toBeUndefined();
      expect(target.continuous).toBeUndefined();
    }
  });

  it('name the outputs literally, since Nx restores nothing for an option that has only a default', () => {
    expect(infer({ train })['remote-train'].outputs).toEqual(['{projectRoot}/artifacts']);
    const outputs = ['snapshot.pt', { path: 'lightning_logs/version_*/', download: false }];
    expect(infer({ train: { ...train, outputs } })['remote-train'].outputs).toEqual([
      '{projectRoot}/snapshot.pt',
      '{projectRoot}/snapshot.pt.nx-ec2.json',
      '{projectRoot}/lightning_logs/version_*',
      '{projectRoot}/lightning_logs/version_*.nx-ec2.json',
      '{projectRoot}/artifacts',
    ]);
  });

  it('have no options, since Nx would resolve tokens in them', () => {
    const sync = { include: ['{workspaceRoot}/data/**'], exclude: ['{projectName}'] };
    const tokens = infer({
      train: { ...train, args: '--root=x{workspaceRoot} {projectRoot}', env: { A: '{projectName}' } },
      sync,
    });
    for (const target of Object.values(tokens)) expect(target).not.toHaveProperty('options');
  });

  it('put into the cache key only what changes a result', () => {
    const before = settingsDigest({ train });
    for (const [name, value] of Object.entries({ timeout: '8h', gracePeriod: '1m', maxArtifactSize: '5GB' })) {
      expect(settingsDigest({ train: { ...train, [name]: value } })).toBe(before);
    }
    const { args, script } = train;
    expect(settingsDigest({ train: { args, script } })).toBe(before);
    for (const [name, value] of Object.entries({ args: '--epochs 4', env: { A: '1' }, setup: false })) {
      expect(settingsDigest({ train: { ...train, [name]: value } })).not.toBe(before);
    }
    const paths = infer({ train: { ...train, checkpoints: { paths: ['ckpt/'] } } })['remote-train'].inputs;
    expect(paths).toEqual(expect.arrayContaining(['!{projectRoot}/ckpt', '!{projectRoot}/ckpt/**/*']));
    expect(infer({ train })['remote-train'].inputs).toEqual([
      ...['training', '^training', '!{projectRoot}/artifacts', '!{projectRoot}/artifacts/**/*'],
      ...['{workspaceRoot}/pyproject.toml', '{workspaceRoot}/uv.lock'],
      { runtime: expect.stringContaining('cache-key') },
      { dependentTasksOutputFiles: '**/*', transitive: true },
    ]);
  });

  it('have the identity of the sent files as an input, by a command that needs no quoting in any shell', () => {
    const projectRoot = "models/o'clock $(x) `y`";
    const { inputs } = infer({ train }, { projectRoot })['remote-train'];
    const { runtime } = inputs!.find((each) => Object.hasOwn(Object(each), 'runtime')) as { runtime: string };
    const words = execFileSync('sh', ['-c', `set -- ${runtime}; printf '%s\\n' "$@"`], { encoding: 'utf8' }).split(
      '\n',
    );
    expect(words.slice(2, 4)).toEqual(['cache-key', projectRoot]);
  });

  it('have the names that nx.json gives them, also in their help', () => {
    const targets = infer({ train }, { names: { trainTargetName: 'fit', logsTargetName: 'log' }, projectName: 'm' });
    const given: Record<string, string> = { 'remote-logs': 'log', 'remote-train': 'fit' };
    expect(Object.keys(targets)).toEqual(NAMES.map((name) => given[name] ?? name));
    expect(targets.fit.executor).toBe('nx-ec2:remote-train');
    expect(targets.fit.metadata!.help!.command).toBe('npx nx run m:fit --help');
  });
});
