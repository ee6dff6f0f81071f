import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ProjectGraph } from '@nx/devkit';
import fc from 'fast-check';
import { environmentChoice } from '../../config/environment/environment-choice';
import { allOutputs } from '../../config/settings/outputs';
import { findFiles } from './find-files';

describe('credential files', () => {
  const environment = { ...process.env };
  let workspaceRoot: string;
  let outside: string;

  beforeEach(() => {
    workspaceRoot = mkdtempSync(join(tmpdir(), 'nx-ec2-credentials-'));
    outside = mkdtempSync(join(tmpdir(), 'nx-ec2-credentials-outside-'));
    for (const path of [
      ...['.env', '.ENV.ci', '.git/config', '.git/refs/heads/main', 'model/train.py', 'model/.env.d/key'],
      ...['model/.envs/a/b', 'model/.Git/x', 'model/a/.env', 'model/a/app.json', 'model/\\.env', 'model/.git\u200c/x'],
    ])
      write(path);
    mkdirSync(join(workspaceRoot, '.git/refs/tags'));
    mkdirSync(join(workspaceRoot, 'model/a/.env.empty'));
    symlinkSync('../.git', join(workspaceRoot, 'model/lib'));
    symlinkSync('../a/../.env.d', join(workspaceRoot, 'model/a/conf'));
    symlinkSync('.env.d/key', join(workspaceRoot, 'model/key'));
    symlinkSync('model', join(workspaceRoot, '.env.model'));
    process.env.HOME = outside;
    for (const name of ['CI', 'NX_EC2_POLICY', 'USERPROFILE']) delete process.env[name];
  });
  afterEach(() => {
    process.env = { ...environment };
    for (const each of [workspaceRoot, outside]) rmSync(each, { recursive: true });
  });

  const write = (path: string, text = 'TOKEN=x') => {
    mkdirSync(dirname(join(workspaceRoot, path)), { recursive: true });
    writeFileSync(join(workspaceRoot, path), text);
  };
  const usePolicy = (policy: object) => {
    process.env.NX_EC2_POLICY = join(outside, 'policy.json');
    writeFileSync(process.env.NX_EC2_POLICY, JSON.stringify(policy));
  };
  const find = (include: string[], train: Parameters<typeof environmentChoice>[0] = {}, listed = ['model/train.py']) =>
    findFiles(
      {
        workspaceRoot,
        projectName: 'model',
        include,
        exclude: [],
        dependencies: true,
        outputs: allOutputs(),
        environment: environmentChoice(train),
        projectGraph: {
          nodes: { model: { name: 'model', type: 'lib', data: { root: 'model' } } },
          dependencies: {},
        } as unknown as ProjectGraph,
      },
      async () => listed,
    );

  const hidden = [
    ['an escape', '{workspaceRoot}/\\.env', '.env'],
    ['an escape within the name', '{workspaceRoot}/.g\\it/config', '.git/config'],
    ['a directory that contains it', '{workspaceRoot}/\\.git', '.git/'],
    ['an empty directory', '{workspaceRoot}/\\.git/refs/tags', '.git/refs/tags'],
    ['a directory of such a name', '\\.envs/a', 'model/.envs/a/b'],
    ['another case', '{workspaceRoot}/\\.ENV.ci', '.ENV.ci'],
    ['an unseen character', '\\.git\u200c', 'model/.git\u200c/x'],
    ['a link to its directory', 'lib/config', 'model/lib/config (.git/config)'],
    ['a link in the middle', 'a/conf/key', 'model/a/conf/key (model/.env.d/key)'],
    ['a link of such a name', '{workspaceRoot}/\\.env.model/train.py', '.env.model/train.py'],
  ];

  it.each(hidden)('are not sent under a policy or in CI, reached by %s', async (_how, pattern, path) => {
    usePolicy({});
    await expect(find([pattern])).rejects.toMatchObject({
      code: 'POLICY',
      message: expect.stringContaining(`"sync.include" names ${path}`) as string,
    });
    usePolicy({ envFiles: true });
    await expect(find([pattern])).resolves.toBeDefined();
    delete process.env.NX_EC2_POLICY;
    await expect(find([pattern])).resolves.toBeDefined();
    process.env.CI = 'true';
    await expect(find([pattern])).rejects.toThrow(/which is not sent in CI/);
  });

  it('do not prevent the rest of a directory from being sent, which leaves them out', async () => {
    usePolicy({});
    expect((await find(['a', '.']).then(({ paths }) => paths)).filter((path) => path.startsWith('model/a/'))).toEqual([
      'model/a/app.json',
      'model/a/conf',
    ]);
  });

  const named: [string, Record<string, string>, Parameters<typeof environmentChoice>[0]][] = [
    ['requirements.txt', { 'requirements.txt': '-r lib/config\n-c a/conf/key\n' }, {}],
    ['a requirements file that another one names', { 'requirements.txt': '-r b.txt\n', 'b.txt': '-r lib/config' }, {}],
    ['a file of conda', { 'environment.yml': 'dependencies:\n- pip:\n  - -r lib/config\n' }, {}],
    ['train.setup', {}, { setup: 'cat lib/config a/conf/key --file=lib/refs/heads/main' }],
    ['train.setup of a project of uv', { 'pyproject.toml': '[tool.uv]\n' }, { setup: ['uv sync', 'cat lib/config'] }],
  ];

  it.each(named)('are not sent through a link by %s', async (_by, files, train) => {
    for (const [path, text] of Object.entries(files)) write(`model/${path}`, text);
    const attempts = [() => usePolicy({}), () => usePolicy({ envFiles: true }), () => (process.env.CI = 'true')];
    for (const prepare of [() => undefined, ...attempts]) {
      prepare();
      const { paths, leftOut } = await find([], train);
      expect(paths).toEqual(['model/train.py', ...Object.keys(files).map((path) => `model/${path}`)].sort());
      expect(leftOut).toContainEqual({ path: 'model/lib/config', why: 'may hold secrets' });
      delete process.env.NX_EC2_POLICY;
    }
  });

  it('are not sent where Nx lists a path through a link', async () => {
    const { paths, leftOut } = await find([], {}, ['model/train.py', 'model/lib/config', 'model/a/conf/key']);
    expect(paths).toEqual(['model/train.py']);
    expect(leftOut.map(({ path }) => path)).toEqual(['model/lib/config', 'model/a/conf/key']);
  });

  it('do not prevent an ordinary linked directory from being named by a requirements file', async () => {
    symlinkSync('a', join(workspaceRoot, 'model/linked'));
    write('model/a/more.txt', 'numpy');
    write('model/requirements.txt', '-r linked/more.txt');
    usePolicy({});
    expect((await find([])).paths).toContain('model/linked/more.txt');
  });

  it('are not sent by any pattern under a policy without envFiles, or in CI', async () => {
    const token = fc.constantFrom(
      ...['\\', '.', 'e', 'n', 'v', 'E', 'g', 'i', 't', 'a', 'lib', 'conf', 'key', 'config', '/', '/', '..', '*', '**'],
      ...[
        '?',
        '[.]',
        '[e]',
        '{',
        '}',
        ',',
        '(',
        ')',
        '|',
        '@(',
        '!(',
        '+(',
        '\u200c',
        '.env',
        '.git',
        '.ENV.ci',
        '.env.d',
      ],
      ...['{workspaceRoot}/', '{.env,.git}', '\\.env', '\\.git', '.e\\nv', 'model', '.envs', '.env.model', '[.]git'],
    );
    const wildcard = ['?', '[.]', '{.,x}', '@(.)', '*'];
    const disguised = fc
      .tuple(
        fc.constantFrom(...hidden.map(([, each]) => each.replaceAll('\\', ''))),
        fc.array(fc.constantFrom('', '', '\\'), { minLength: 40, maxLength: 40 }),
        fc.option(fc.constantFrom(...wildcard)),
      )
      .map(([path, escapes, instead]) => {
        const start = /^\{.*?\}\//.exec(path)?.[0] ?? '';
        const rest = [...path.slice(start.length)]
          .map((each, at) => (each === '/' ? each : escapes[at] + each))
          .join('');
        return start + (instead === null ? rest : rest.replace(/\\?\./, instead));
      });
    const any = fc.array(token, { minLength: 1, maxLength: 6 }).map((tokens) => tokens.join(''));
    const pattern = fc.oneof(disguised, any);
    const credential = /(^|\/)(\.env[^/]*|\.git)(\/|$)/i;
    const tally = { sent: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(pattern, fc.boolean(), async (each, isCI) => {
        if (isCI) delete process.env.NX_EC2_POLICY;
        else usePolicy({});
        process.env.CI = isCI ? '1' : '';
        const outcome = await find([each]).catch((error: { code?: string }) => error.code);
        if (typeof outcome !== 'object') {
          tally.refused += outcome === 'POLICY' ? 1 : 0;
          expect(['POLICY', 'INCLUDE_OUTSIDE', 'GLOB_INVALID']).toContain(outcome);
          return;
        }
        tally.sent++;
        const seen = [...outcome.paths, ...outcome.emptyDirectories].map((path) => path.replaceAll('\u200c', ''));
        expect(seen.filter((path) => credential.test(path))).toEqual([]);
        expect(seen.filter((path) => /^model\/(lib|a\/conf)\//.test(path))).toEqual([]);
      }),
      { numRuns: 300 },
    );
    expect(tally.sent).toBeGreaterThan(20);
    expect(tally.refused).toBeGreaterThan(20);
  });
});
