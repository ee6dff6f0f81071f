import { appendFileSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { PassThrough } from 'node:stream';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { Workshop } from '../executors/lib/executor-harness.fixture';
import { settingsDigest } from '../config/targets/result-settings';
import { Printer } from '../report/printer';
import { changeKey } from '../workspace/key-change';
import { reportedKeys, reportKey } from '../workspace/key-log';
import { sharedListing, type Listing } from '../workspace/files/shared-listing';
import { stateDirectory } from '../workspace/state';
import { cacheKey } from './cache-key';

// Nx looks at the files once in a process; each key is asked for by a process of its own.
let listed = 0;
const list = async (root: string): Promise<Listing> => {
  listed++;
  const files = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((path) => path.startsWith('model/'));
  const data = { root: 'model' };
  const projectGraph = { nodes: { model: { type: 'app', name: 'model', data } }, dependencies: { model: [] } };
  return { projectGraph: projectGraph as Listing['projectGraph'], files: { model: files } };
};

describe('nx-ec2 cache-key', () => {
  let shop: Workshop;
  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write('model/train.py', 'print(1)\n');
    shop.write('model/prompts/system.md', 'one\n');
    shop.write('model/ec2.config.json', JSON.stringify({ train: { script: 'train.py' } }));
  });
  afterAll(() => shop.close());

  const key = async () => {
    const stdout = new PassThrough();
    const printer = new Printer({ plain: true, stdout: stdout as unknown as NodeJS.WriteStream });
    await cacheKey('model', shop.workspace, (root) => sharedListing(root, list), printer);
    return String(stdout.read()).trimEnd().split('\n');
  };
  const path = (name: string) => join(shop.workspace, name);

  it('is the id of the snapshot that a sync sends, and is reported to the executor', async () => {
    const before = Date.now();
    const [settings, snapshot, ...more] = await key();
    expect(more).toEqual([]);
    expect(settings).toBe(settingsDigest({ train: { script: 'train.py' } }));
    const { snapshot: sent } = await shop.run<{ snapshot: string }>('remote-sync');
    expect(snapshot).toBe(sent);
    expect(reportedKeys(shop.workspace, 'model', before)).toEqual([
      { at: expect.any(Number), settings, snapshot, versions: [] },
    ]);
  });

  it('changes with each --rerun, whose result Nx would else take from its cache the next time', async () => {
    const keys = [await key()];
    for (let n = 0; n < 2; n++) {
      changeKey(shop.workspace, 'model');
      keys.push(await key(), await key());
    }
    expect(keys[1]).toEqual(keys[2]);
    expect(new Set(keys.map(String)).size).toBe(3);
    rmSync(join(stateDirectory(shop.workspace), 'reruns'), { recursive: true });
    expect(await key()).toEqual(keys[0]);
  });

  it('changes with the policies, which a result in the cache may not satisfy', async () => {
    const policy = join(shop.memory, 'policy.json');
    const keys = [await key()];
    try {
      process.env.NX_EC2_POLICY = policy;
      for (const callers of [['arn:aws:iam::1:user/a'], ['arn:aws:iam::1:user/b']]) {
        writeFileSync(policy, JSON.stringify({ callers }));
        keys.push(await key());
      }
      writeFileSync(policy, '{');
      expect((await key()).at(-1)).toContain(`error: The policy ${policy} can't be used`);
    } finally {
      delete process.env.NX_EC2_POLICY;
    }
    expect(new Set(keys.map(String)).size).toBe(3);
    expect(await key()).toEqual(keys[0]);
  });

  it('changes with every file that a training can read, whatever its name and its time of change', async () => {
    const seen = new Set(await key());
    const changes = [
      () => shop.write('model/prompts/system.md', 'two\n'),
      () => shop.write('model/docs/data.txt', 'x'),
      () => shop.write('model/empty/first.txt', 'x'),
      () => {
        const { atime, mtime } = statSync(path('model/train.py'));
        shop.write('model/train.py', 'print(2)\n');
        utimesSync(path('model/train.py'), atime, mtime);
      },
      () => rmSync(path('model/docs/data.txt')),
      () => rmSync(path('model/prompts'), { recursive: true }),
    ];
    for (const change of changes) {
      change();
      const [, now] = await key();
      expect(seen).not.toContain(now);
      seen.add(now);
    }
  });

  it('does not change with tests, notebooks and documents, which are not sent', async () => {
    const before = await key();
    for (const name of ['README.md', 'LICENSE', 'CHANGELOG.md', 'tests/data.json', 'a/test_b.py', 'n.ipynb'])
      shop.write(`model/${name}`, String(Math.random()));
    expect(await key()).toEqual(before);
    // A build needs the document that a packaging file names.
    shop.write('model/pyproject.toml', '[project]\nname = "m"\nversion = "1"\nreadme = "README.md"\n');
    const packaged = await key();
    shop.write('model/README.md', 'more');
    expect(await key()).not.toEqual(packaged);
  });

  it("is an error text if files can't be sent: the target says what is wrong", async () => {
    const config = readFileSync(path('model/ec2.config.json'));
    shop.write(
      'model/ec2.config.json',
      JSON.stringify({ sync: { include: ['../..'] }, train: { script: 'train.py' } }),
    );
    expect(await key()).toEqual([expect.any(String), expect.stringMatching(/^error: .*outside the workspace/)]);
    writeFileSync(path('model/ec2.config.json'), config);
  });

  it('changes with settings that change a result, of the entry of nx.json that applies to the project as well', async () => {
    const one = await key();
    const entry = (directory: string, args: string) => ({
      plugin: 'nx-ec2',
      include: [`${directory}/**`],
      options: { train: { args } },
    });
    const withEntries = (...plugins: object[]) => shop.write('nx.json', JSON.stringify({ plugins }));
    withEntries(entry('other', '--lr 1'));
    expect(await key()).toEqual(one);
    withEntries(entry('other', '--lr 1'), entry('model', '--lr 2'));
    const [settings, ...same] = await key();
    expect(settings).not.toBe(one[0]);
    expect(same).toEqual(one.slice(1));
    shop.write('nx-base.json', JSON.stringify({ plugins: [entry('model', '--lr 2')] }));
    shop.write('nx.json', '{ "extends": "./nx-base.json" }');
    expect((await key())[0]).toBe(settings);
    shop.write('nx.json', '{}');
  });

  it('asks Nx once for projects that are asked for at the same time, and again after a change', async () => {
    const now = jest.spyOn(Date, 'now').mockReturnValue(Date.now());
    await key();
    const before = listed;
    await Promise.all([key(), key()]);
    expect(listed).toBe(before);
    shop.write('model/another.py', '');
    await key();
    expect(listed).toBe(before + 1);
    shop.write('model/empty/a', '');
    rmSync(path('model/empty/a'));
    await key();
    const withEmpty = listed;
    shop.write('model/empty/b', '');
    await key();
    expect(listed).toBe(withEmpty + 1);
    shop.write('nx.json', '{ "plugins": [] }');
    await key();
    expect(listed).toBe(withEmpty + 2);
    now.mockReturnValue(Date.now() + 60_000);
    await key();
    expect(listed).toBe(withEmpty + 3);
    now.mockRestore();
  });

  it('includes the version of each dataset in S3 that is part of the key', async () => {
    await shop.at.s3.send(new PutObjectCommand({ Bucket: 'data', Key: 'corpus/a', Body: 'a' }));
    const datasets = [
      { source: 's3://data/corpus', path: 'data', cacheKey: true },
      { source: 's3://data/other', path: 'other' },
    ];
    shop.write(
      'model/ec2.config.json',
      JSON.stringify({ region: 'eu-west-1', train: { script: 'train.py', datasets } }),
    );
    const [, , version, ...more] = await key();
    expect(version).toMatch(/^s3:\/\/data\/corpus [0-9a-f]+/);
    expect(more).toEqual([]);
  });

  it('asks AWS for nothing that a policy does not allow, or that a file of the workspace redirects', async () => {
    const datasets = [{ source: 's3://data/corpus', path: 'data', cacheKey: true }];
    const policy = join(shop.memory, 'policy.json');
    const refused = async (allowed: object, written: object, message: RegExp) => {
      writeFileSync(policy, JSON.stringify(allowed));
      shop.write('model/ec2.config.json', JSON.stringify({ region: 'eu-west-1', train: { datasets }, ...written }));
      shop.at.aws.calls.clear();
      expect((await key()).slice(1).join('\n')).toMatch(message);
      expect(shop.at.aws.calls.all()).toEqual([]);
    };
    process.env.NX_EC2_POLICY = policy;
    try {
      await refused({ datasets: ['s3://other/*'] }, {}, /does not allow "train\.datasets": "s3:\/\/data\/corpus"/);
      await refused({ roles: [] }, { roleArn: 'arn:aws:iam::000000000000:role/other' }, /does not allow "roleArn"/);
      await refused({ profiles: [] }, { profile: 'admin' }, /does not allow "profile"/);
      await refused({}, { profile: 1 }, /profile: /);
      // The key's datasets lie in no store.
      writeFileSync(policy, JSON.stringify({ prefixes: ['team-a/'] }));
      shop.write(
        'model/ec2.config.json',
        JSON.stringify({ region: 'eu-west-1', prefix: 'team-a/', train: { datasets } }),
      );
      expect((await key())[2]).toMatch(/^s3:\/\/data\/corpus [0-9a-f]+/);
    } finally {
      delete process.env.NX_EC2_POLICY;
    }
    const before = process.env.AWS_ENDPOINT_URL_S3;
    process.env.AWS_ENDPOINT_URL_S3 = 'http://s3.example:1';
    shop.write('.env', 'AWS_ENDPOINT_URL_S3=http://s3.example:1\n');
    try {
      await refused({}, {}, /\.env sets AWS_ENDPOINT_URL_S3/);
    } finally {
      rmSync(path('.env'));
      if (before === undefined) delete process.env.AWS_ENDPOINT_URL_S3;
      else process.env.AWS_ENDPOINT_URL_S3 = before;
    }
  });
});

describe('the key log', () => {
  let shop: Workshop;
  beforeAll(async () => {
    shop = await Workshop.open();
  });
  afterAll(() => shop.close());

  it('returns what was reported since a given time, whatever else its file holds', () => {
    const key = (at: number) => ({ at, settings: 's', snapshot: String(at), versions: [] });
    for (const at of [1, 2, 3]) reportKey(shop.workspace, 'a/b', key(at));
    appendFileSync(join(stateDirectory(shop.workspace), 'keys', 'a%2Fb'), '{"at": 9, "snap\nnull\n[]\n{}\n');
    reportKey(shop.workspace, 'a/b', key(4));
    expect(reportedKeys(shop.workspace, 'a/b', 2)).toEqual([key(2), key(3), key(4)]);
    expect(reportedKeys(shop.workspace, 'other', 0)).toEqual([]);
  });

  it('does not grow without limit', () => {
    for (let at = 0; at < 4000; at++)
      reportKey(shop.workspace, 'm', { at, settings: 's', snapshot: 'x'.repeat(64), versions: [] });
    expect(statSync(join(stateDirectory(shop.workspace), 'keys', 'm')).size).toBeLessThan(300 * 1024);
    expect(reportedKeys(shop.workspace, 'm', 3999)).toHaveLength(1);
  });
});
