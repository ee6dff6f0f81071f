import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Rescan } from '../watch/rescan';
import { scanProject, type Workspace } from './scan-project';

let listed: string[] = [];
jest.mock('../system/nx-library', () => ({
  nxLibrary: {
    fileMap: () => ({
      createProjectFileMapUsingProjectGraph: async () => ({ model: listed.map((file) => ({ file })) }),
    }),
  },
}));

describe('a scan of a project', () => {
  let directory: string;
  const environment = process.env.NX_EC2_CACHE_DIRECTORY;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'nx-ec2-scan-'));
    process.env.NX_EC2_CACHE_DIRECTORY = join(directory, 'cache');
    mkdirSync(join(directory, 'ws/model'), { recursive: true });
  });
  afterEach(() => {
    if (environment === undefined) delete process.env.NX_EC2_CACHE_DIRECTORY;
    else process.env.NX_EC2_CACHE_DIRECTORY = environment;
    rmSync(directory, { recursive: true });
  });

  const open = () => {
    const warnings: string[] = [];
    const workspace = {
      workspaceRoot: join(directory, 'ws'),
      projectGraph: { nodes: { model: { name: 'model', type: 'app', data: { root: 'model' } } }, dependencies: {} },
      project: 'model',
      configuration: {
        sync: { include: [], exclude: [], sensitive: [], dependencies: true },
        train: { outputs: [{ path: 'artifacts', download: true }], checkpoints: { paths: [] } },
        declaredEnvironment: { environment: 'auto', command: null, setup: null },
      },
      printer: { warn: (text: string) => warnings.push(text) },
    } as unknown as Workspace;
    return { workspace, warnings };
  };
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'4d7a'.repeat(16)}\nsize 123456789\n`;

  it('names pointers of Git LFS each time, whether or not they had to be read again', async () => {
    listed = ['model/train.py', 'model/weights.bin'];
    writeFileSync(join(directory, 'ws/model/train.py'), '');
    writeFileSync(join(directory, 'ws/model/weights.bin'), pointer);
    const { workspace, warnings } = open();
    const scan = () => scanProject(workspace);
    const told =
      '1 file is a Git LFS pointer, and the contents are not on this machine: model/weights.bin. Run "git lfs pull" to get them.';
    await scan();
    await scan();
    expect(warnings).toEqual([told, told]);

    writeFileSync(join(directory, 'ws/model/we\x1b[31mights'), pointer);
    listed.push('model/we\x1b[31mights');
    await scan();
    expect(warnings[2]).toMatch(/^2 files are Git LFS pointers, /);
    expect(warnings[2]).not.toContain('\x1b');

    writeFileSync(join(directory, 'ws/model/weights.bin'), 'x'.repeat(pointer.length));
    rmSync(join(directory, 'ws/model/we\x1b[31mights'));
    listed.pop();
    await scan();
    expect(warnings).toHaveLength(3);
  });

  it('of a watch names each pointer of Git LFS once, and one that takes a content’s place', async () => {
    listed = ['model/a.bin', 'model/b.bin'];
    writeFileSync(join(directory, 'ws/model/a.bin'), pointer);
    writeFileSync(join(directory, 'ws/model/b.bin'), 'content');
    const { workspace, warnings } = open();
    const rescan = new Rescan(workspace, async () => listed);
    await rescan.after({ paths: null });
    await rescan.after({ paths: new Set(['model/b.bin']) });
    expect(warnings).toEqual([expect.stringMatching(/^1 file is a Git LFS pointer, .*: model\/a\.bin\./)]);
    writeFileSync(join(directory, 'ws/model/b.bin'), pointer);
    await rescan.after({ paths: new Set(['model/b.bin']) });
    await rescan.after({ paths: null });
    expect(warnings.slice(1)).toEqual([expect.stringMatching(/^1 file is a Git LFS pointer, .*: model\/b\.bin\./)]);
  });
});
