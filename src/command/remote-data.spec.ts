import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { startFixture, type Fixture } from '../local-aws/local-aws.fixture';
import { onInstance } from './instance-python.fixture';

interface Entry {
  source: string;
  path: string;
  version: string;
  files: number;
  bytes: number;
  directory: string;
  lock: number;
}

const FETCH = `
import os, pwd
from nx_ec2_runtime.datasets.datasets import fetch_data, link_data
account, seen = pwd.getpwuid(os.getuid()), []
entries = fetch_data(given, given["root"], account=account, progress=lambda *each: seen.append(each))
`;

describe('a dataset in S3, downloaded by the instance,', () => {
  let at: Fixture;
  let box: string;
  let root: string;

  beforeAll(async () => {
    at = await startFixture();
    box = at.aws.named.get('box')!.id;
  });
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'nx-ec2-data-'));
  });
  afterEach(async () => {
    at.aws.faults.clear();
    at.aws.role(box).deny.length = 0;
    rmSync(root, { recursive: true, force: true });
    const { Contents = [] } = await at.s3.send(new ListObjectsV2Command({ Bucket: 'bucket' }));
    for (const { Key } of Contents) await at.s3.send(new DeleteObjectCommand({ Bucket: 'bucket', Key }));
  });
  afterAll(async () => {
    await at.close();
  });

  const put = (Key: string, Body: string | Buffer = Key) =>
    at.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key, Body: Buffer.from(Body) }));
  const run = <T = Entry[]>(
    datasets: { source: string; path: string }[] = [{ source: 's3://bucket/corpus', path: 'data/corpus' }],
    program = 'answer = entries',
    more: object = {},
  ) =>
    onInstance<T>(
      at.aws,
      box,
      FETCH + program,
      { datasets, root, id: 'r', store: { region: 'eu-west-1' }, endpoints: { s3: at.aws.url }, ...more },
      { NX_EC2_DATA_ROOT: root },
    );
  const gets = (from = 0) =>
    at.aws.requests
      .slice(from)
      .filter(({ action, path, status }) => action === 'GET' && path.startsWith('/bucket/corpus/') && status < 300);

  it('is downloaded once, is read-only, and is linked where the configuration wants it', async () => {
    const large = randomBytes(20 * 1024 * 1024 + 17);
    await put('corpus/large.bin', large);
    await put('corpus/sub/ü +&.txt', 'text');
    await put('corpus/empty', '');
    await put('corpus/dir/', '');
    await put('corpus-other/x', 'not this one');
    const project = join(root, 'work');
    mkdirSync(join(project, 'data'), { recursive: true });
    const link = `
link_data(entries, ${JSON.stringify(project)}, account)
link_data(entries, ${JSON.stringify(project)}, account)
answer = [entries, seen[-1]]
`;
    const [[entry], last] = await run<[Entry[], unknown[]]>(undefined, link);
    expect(entry).toMatchObject({
      source: 's3://bucket/corpus',
      path: 'data/corpus',
      files: 3,
      bytes: large.length + 4,
    });
    expect(last).toEqual(['s3://bucket/corpus', large.length + 4, large.length + 4]);
    const there = join(project, 'data/corpus');
    expect(readFileSync(join(there, 'large.bin')).equals(large)).toBe(true);
    expect(readFileSync(join(there, 'sub/ü +&.txt'), 'utf8')).toBe('text');
    expect(readdirSync(there).sort()).toEqual(['dir', 'empty', 'large.bin', 'sub']);
    expect(statSync(join(there, 'large.bin')).mode & 0o777).toBe(0o444);

    const before = at.aws.requests.length;
    expect((await run())[0]).toEqual({ ...entry, lock: expect.any(Number) });
    expect(gets(before)).toEqual([]);
    expect(readdirSync(join(root, 'data', entry.version)).sort()).toEqual(['done.json', 'files', 'lock', 'used']);

    await put('corpus/empty', 'no more');
    expect((await run())[0].version).not.toBe(entry.version);
  });

  it('is a single object if the source is one, in any region of the bucket', async () => {
    await put('weights/model.bin', 'weights');
    const [entry] = await run([{ source: 's3://bucket/weights/model.bin', path: 'm' }], undefined, {
      store: { region: 'us-east-1' },
    });
    expect(readFileSync(entry.directory, 'utf8')).toBe('weights');
  });

  it('continues a download that was stopped', async () => {
    const large = randomBytes(40 * 1024 * 1024);
    await put('corpus/large.bin', large);
    await put('corpus/small', 'small');
    const stop = `
import os, pwd
from nx_ec2_runtime.datasets.datasets import fetch_data
from nx_ec2_runtime.datasets import download as data_fetch
write = data_fetch.File.write
def written(self, index, data):
    write(self, index, data)
    if index >= 3:
        os.kill(os.getpid(), 9)
data_fetch.File.write = written
fetch_data(given, given["root"], account=pwd.getpwuid(os.getuid()), progress=lambda *each: None)
`;
    const given = {
      datasets: [{ source: 's3://bucket/corpus', path: 'x' }],
      root,
      id: 'r',
      store: { region: 'eu-west-1' },
      endpoints: { s3: at.aws.url },
    };
    await expect(onInstance(at.aws, box, stop, given, { NX_EC2_DATA_ROOT: root })).rejects.toBeDefined();
    const before = at.aws.requests.length;
    const [entry] = await run();
    expect(readFileSync(join(entry.directory, 'large.bin')).equals(large)).toBe(true);
    expect(gets(before).filter(({ path }) => path.endsWith('large.bin')).length).toBeLessThan(5);
  });

  it('stops when it is told to, and leaves nothing that looks complete', async () => {
    await put('corpus/a', 'right');
    at.aws.faults.add({ service: 's3', action: 'GET', after: 1, delay: 1500 });
    const stop = `
import os, pwd
from nx_ec2_runtime.datasets.datasets import fetch_data
def progress(source, done, total):
    # It is called while the source is listed, too.
    if total:
        raise Failure("STOPPED", "as requested")
fetch_data(given, given["root"], account=pwd.getpwuid(os.getuid()), progress=progress)
`;
    const given = {
      datasets: [{ source: 's3://bucket/corpus', path: 'x' }],
      root,
      id: 'r',
      store: { region: 'eu-west-1' },
      endpoints: { s3: at.aws.url },
    };
    const data = { NX_EC2_DATA_ROOT: root };
    expect(await onInstance(at.aws, box, stop, given, data)).toMatchObject({ failure: 'STOPPED' });
    const [version] = readdirSync(join(root, 'data'));
    expect(readdirSync(join(root, 'data', version)).sort()).toEqual(['lock', 'part']);
    expect(readFileSync(join((await run())[0].directory, 'a'), 'utf8')).toBe('right');
  });

  it('is downloaded once for two runs that start at the same time', async () => {
    await put('corpus/a', randomBytes(1000));
    const before = at.aws.requests.length;
    const [[one], [other]] = await Promise.all([run(), run()]);
    expect(one).toEqual({ ...other, lock: expect.any(Number) });
    expect(gets(before)).toHaveLength(1);
  });

  it('is accepted if it was uploaded in parts, so that its ETag is no hash of its content', async () => {
    const parts = [randomBytes(5 * 1024 * 1024), randomBytes(5 * 1024 * 1024 + 1)];
    const target = { Bucket: 'bucket', Key: 'corpus/parts' };
    const { UploadId } = await at.s3.send(new CreateMultipartUploadCommand(target));
    const Parts = [];
    for (const [index, Body] of parts.entries()) {
      const PartNumber = index + 1;
      const { ETag } = await at.s3.send(new UploadPartCommand({ ...target, UploadId, PartNumber, Body }));
      Parts.push({ ETag, PartNumber });
    }
    await at.s3.send(new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts } }));
    const [entry] = await run();
    expect(readFileSync(join(entry.directory, 'parts')).equals(Buffer.concat(parts))).toBe(true);
  });

  it('is refused if the received bytes are not those in S3', async () => {
    await put('corpus/a', 'right');
    // Behind its back: the bytes change, what is known of them does not.
    const name = createHash('sha256').update('corpus/a').digest('hex');
    writeFileSync(join(at.directory, 's3', 'bucket', name), 'wrong');
    expect(await run()).toMatchObject({ failure: 'DATA_FAILED', message: expect.stringContaining('corpus/a') });
    const [version] = readdirSync(join(root, 'data'));
    expect(readdirSync(join(root, 'data', version)).sort()).toEqual(['lock', 'part']);
    writeFileSync(join(at.directory, 's3', 'bucket', name), 'right');
    expect(readFileSync(join((await run())[0].directory, 'a'), 'utf8')).toBe('right');
  });

  it.each(['corpus/../../etc/x', 'corpus//x', 'corpus/./x', 'corpus//etc/x', `corpus/${'x'.repeat(256)}`])(
    'is refused with the key %s',
    async (key) => {
      await put('corpus/fine');
      // The SDK would tidy its URL on the way.
      const name = createHash('sha256').update(key).digest('hex');
      const about = { key, etag: '"x"', size: 1, modified: 0, contentType: 'x', headers: {} };
      writeFileSync(join(at.directory, 's3', 'bucket', name), 'x');
      writeFileSync(join(at.directory, 's3', 'bucket', `${name}.json`), JSON.stringify(about));
      at.aws.reread();
      try {
        expect(await run()).toMatchObject({ failure: 'UNSAFE_PATH' });
      } finally {
        for (const end of ['', '.json']) rmSync(join(at.directory, 's3', 'bucket', `${name}${end}`));
        at.aws.reread();
      }
    },
  );

  it('is refused if a name is both a file and a directory', async () => {
    await put('corpus/a');
    await put('corpus/a/b');
    expect(await run()).toMatchObject({ failure: 'UNSAFE_PATH', path: 'a' });
  });

  it('is refused with what is missing: objects, permissions or the role', async () => {
    expect(await run()).toMatchObject({
      failure: 'DATA_FAILED',
      message: 's3://bucket/corpus: no object has this name',
    });
    const absent = [{ source: 's3://no-such-bucket/x', path: 'x' }];
    expect(await run(absent)).toMatchObject({ failure: 'DATA_FAILED', status: 404 });
    await put('corpus/a');
    for (const action of ['s3:ListBucket', 's3:GetObject']) {
      at.aws.role(box).deny.splice(0, 1, action);
      expect(await run()).toMatchObject({
        failure: 'DATA_FAILED',
        aws: expect.stringMatching(new RegExp(`^AccessDenied: User: .* ${action}`)),
        message: expect.stringContaining('give the instance'),
      });
    }
    at.aws.role(box).name = null;
    expect(await run()).toMatchObject({ failure: 'NO_ROLE' });
    at.aws.role(box).name = 'local-instance';
  });

  it('does not replace a file that is in its place', async () => {
    await put('corpus/a');
    const project = join(root, 'work');
    mkdirSync(join(project, 'data'), { recursive: true });
    writeFileSync(join(project, 'data/corpus'), 'mine');
    const link = `link_data(entries, ${JSON.stringify(project)}, account)`;
    expect(await run(undefined, link)).toMatchObject({ failure: 'PATH_BLOCKED', path: 'data/corpus' });
    const out = [{ source: 's3://bucket/corpus', path: '../out' }];
    expect(await run(out, link)).toMatchObject({ failure: 'UNSAFE_PATH' });
    expect(readFileSync(join(project, 'data/corpus'), 'utf8')).toBe('mine');
  });
});
