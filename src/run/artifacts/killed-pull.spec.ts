import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  promises,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { Aws } from '../../aws/clients';
import { resolveConfiguration } from '../../config/configuration';
import { allOutputs } from '../../config/settings/outputs';
import { Printer } from '../../report/printer';
import { Store } from '../../store/store';
import { StoreFixture } from '../../store/store.fixture';
import { Mortal, mortality } from '../../system/mortal.fixture';
import { isScratch } from '../../workspace/scratch';
import { collectArtifacts } from './collect';
import { listed } from '../pipeline.fixture';
import { isPointer } from './pointer';
import { pullRun } from './pull';
import type { RunRecord } from '../record/record';
import { saveRun } from '../record/saved-run.fixture';
import type { RunContext } from '../../context/types';

/** The id of a process that has ended. */
const { pid: ENDED } = spawnSync('true');

describe('a pull or collection that is killed at any step', () => {
  let at: StoreFixture;
  let end: () => Promise<void>;
  let workspace: string;
  let output: string;
  let record: RunRecord;
  const files = {
    'model.bin': Buffer.from('weights'),
    'deep/er/metrics.json': Buffer.from('{"loss":1}'),
    'large.pt': Buffer.from('stays in the store'),
  };
  beforeAll(async () => {
    at = await StoreFixture.start();
    record = { ...(await saveRun(at.store, at.keys(), files)), log: { size: 0, training: null, ...NO_LOG } };
    end = await mortality();
  });
  afterAll(async () => {
    await end();
    await at.close();
  });
  beforeEach(() => {
    workspace = mkdtempSync(join(tmpdir(), 'nx-ec2-killed-'));
    output = join(workspace, 'model/artifacts');
    mkdirSync(join(workspace, 'model'));
    writeFileSync(join(workspace, '.gitignore'), 'artifacts\n');
  });
  afterEach(() => {
    rmSync(workspace, { recursive: true, force: true });
    for (const aws of clients.splice(0)) aws.close();
  });

  const NO_LOG = { truncated: false, hashes: null };
  const printer = () => new Printer({ stdout: new PassThrough().resume() as unknown as NodeJS.WriteStream });
  /** Each process has its own connections. */
  const withStore = async (work: (store: Store) => Promise<unknown>) => {
    const aws = new Aws({});
    clients.push(aws);
    return work(new Store(aws, { bucket: 'bucket' }));
  };
  const clients: Aws[] = [];
  const collect = () =>
    withStore((store) =>
      collectArtifacts(
        {
          store,
          keys: at.keys(),
          project: 'model',
          workspaceRoot: workspace,
          printer: printer(),
          configuration: resolveConfiguration({
            workspaceRoot: workspace,
            projectName: 'model',
            projectRoot: 'model',
            nxJson: {},
            environment: {},
            options: { bucket: 'bucket', instance: 'i-0123456789abcdef0', ...STAYS },
            target: 'remote-train',
          }),
        } as unknown as RunContext,
        record,
      ),
    );
  const STAYS = { script: 'train.py', outputs: [{ path: 'artifacts/large.pt', download: false }] };
  const pull = () =>
    withStore((store) =>
      pullRun({ store, keys: at.keys(), printer: printer(), project: 'model' }, record, {
        output: join(workspace, 'model'),
        projectRoot: 'model',
        outputs: allOutputs(),
        limit: 1e9,
      }),
    );

  /** What is in the output directory, but for files that say by their names that they are unfinished, or ours. */
  const here = () => {
    try {
      return listed(output).filter((path) => !isScratch(path) && !path.endsWith('.nx-ec2-part') && !isOurs(path));
    } catch {
      return [];
    }
  };
  const isOurs = (path: string) => path.endsWith('.nx-ec2.json') || isPointer(path);
  /** Directories that dead processes have left. They are named as if this process had another id. */
  const abandon = () => {
    for (const directory of [workspace, join(workspace, 'model'), output])
      for (const name of existing(directory).filter(isScratch))
        renameSync(join(directory, name), join(directory, name.replace(`-${process.pid}-`, `-${ENDED}-`)));
    for (const path of listedIn(output).filter((each) => each.endsWith('.nx-ec2-part')))
      renameSync(join(output, path), join(output, path.replace(`-${process.pid}-`, `-${ENDED}-`)));
  };
  const existing = (directory: string) => {
    try {
      return readdirSync(directory);
    } catch {
      return [];
    }
  };
  const listedIn = (directory: string) => (existsSync(directory) ? listed(directory) : []);
  const expectWhole = (paths: string[]) => {
    for (const path of paths)
      expect([path, readFileSync(join(output, path)).equals(contentOf(path))]).toEqual([path, true]);
  };
  const contentOf = (path: string) => (files as Record<string, Buffer>)[path];

  /** Kills processes at every other step of the work, each of which begins where `prepare` ends. @returns how many steps there are. */
  async function killed(first: number, work: () => Promise<unknown>, prepare: () => void, right: () => void) {
    for (let step = first; ; step += 2) {
      rmSync(join(workspace, 'model'), { recursive: true, force: true });
      mkdirSync(join(workspace, 'model'));
      prepare();
      const process = new Mortal([workspace], step);
      if ((await process.run(work)) !== 'killed') return step;
      // A file that has its name has its content.
      expectWhole(here().filter((path) => path !== 'old'));
      abandon();
      await work();
      right();
      expect(existing(join(workspace, 'model'))).toEqual(['artifacts']);
      expect(listed(output).filter((path) => isScratch(path) || path.endsWith('.nx-ec2-part'))).toEqual([]);
    }
  }

  it('is pulled by the same command again, each file whole', async () => {
    const steps = await killed(
      0,
      pull,
      () => undefined,
      () => {
        expect(here()).toEqual(Object.keys(files).sort());
        expectWhole(here());
      },
    );
    expect(steps).toBeGreaterThan(25);
  });

  it('is collected by the same command again, beside the results of an earlier run', async () => {
    const steps = await killed(
      1,
      collect,
      () => {
        mkdirSync(output);
        writeFileSync(join(output, 'old'), 'of an earlier run');
        writeFileSync(join(output, '.nx-ec2.json'), JSON.stringify({ files: ['old'] }));
      },
      () => {
        const brought = Object.keys(files).filter((path) => path !== 'large.pt');
        expect(here()).toEqual([...brought, 'old'].sort());
        expectWhole(brought);
        expect(readFileSync(join(output, 'old'), 'utf8')).toBe('of an earlier run');
        expect(JSON.parse(readFileSync(join(output, 'large.pt.nx-ec2.json'), 'utf8'))).toMatchObject({
          run: record.id,
        });
      },
    );
    expect(steps).toBeGreaterThan(35);
  });

  it.each([
    ['collected', collect, []],
    ['pulled', pull, ['artifacts']],
  ])('is %s by the same command once a full disk has free space again', async (_, work, left) => {
    const file = await promises.open(__filename);
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), {
      code: 'ENOSPC',
      syscall: 'write',
    });
    const write = jest.spyOn(Object.getPrototypeOf(file) as typeof file, 'write').mockRejectedValue(full);
    await file.close();
    await expect(work()).rejects.toMatchObject({
      code: 'DISK_FULL',
      message: expect.stringMatching(
        /^The disk of \S+ is full: \S+\/(model\.bin|metrics\.json|large\.pt) could not be written\.\nFree/,
      ),
    });
    write.mockRestore();
    expect(existing(join(workspace, 'model'))).toEqual(left);
    expect(here()).toEqual([]);
    await work();
    expectWhole(here());
    expect(here()).toContain('model.bin');
  });
});
