import { createHash } from 'node:crypto';
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import {
  AbortMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import {
  CancelCommandCommand,
  GetCommandInvocationCommand,
  SendCommandCommand,
  type GetCommandInvocationCommandOutput,
} from '@aws-sdk/client-ssm';
import { createPresignedPost } from '@aws-sdk/s3-presigned-post';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { refusal } from '../../src/local-aws/local-aws.fixture';
import { openTarget, type Target } from './target';

const root = join(__dirname, '../..');
let at: Target;

beforeAll(async () => {
  at = await openTarget();
});
afterAll(() => at.close());

const send = async (script: string, more: Record<string, string[]> = {}) => {
  const sent = await at.ssm.send(
    new SendCommandCommand({
      InstanceIds: [at.instance],
      DocumentName: 'AWS-RunShellScript',
      Comment: 'nx-ec2: conformance',
      Parameters: { commands: [script], ...more },
    }),
  );
  return sent.Command!.CommandId!;
};
const look = async (CommandId: string): Promise<GetCommandInvocationCommandOutput | null> => {
  try {
    return await at.ssm.send(new GetCommandInvocationCommand({ CommandId, InstanceId: at.instance }));
  } catch (error) {
    // Right after SendCommand the invocation may not be visible yet.
    if ((error as Error).name === 'InvocationDoesNotExist') return null;
    throw error;
  }
};
const until = async (id: string, holds: (seen: GetCommandInvocationCommandOutput) => boolean) => {
  for (;;) {
    const seen = await look(id);
    if (seen && holds(seen)) return seen;
    await sleep(300);
  }
};
const ended = (id: string) =>
  until(id, ({ Status }) => !['Pending', 'InProgress', 'Delayed', 'Cancelling'].includes(Status!));
const run = async (script: string, more?: Record<string, string[]>) => ended(await send(script, more));
const details = (seen: GetCommandInvocationCommandOutput) => seen.StatusDetails!.replace(/\s/g, '');

describe('Run Command', () => {
  it('is a script of sh, with no HOME, from /dev/null, that knows its command and its instance', async () => {
    const { StandardOutputContent: out } = await run(
      'echo "home=${HOME-unset} user=${USER-unset}"; readlink /proc/self/fd/0; umask; echo "$AWS_SSM_INSTANCE_ID"; [ -n "$SSM_COMMAND_ID" ] && echo known',
    );
    expect(out!.trimEnd().split('\n')).toEqual(['home=unset user=unset', '/dev/null', '0022', at.instance, 'known']);
  });

  it.each([
    [0, 'Success', 0],
    [3, 'Failed', 3],
    [137, 'TimedOut', 137],
    [168, 'Success', 168],
    [169, 'Failed', 169],
  ])('reports exit %i as %s', async (code, status, reported) => {
    const seen = await run(`exit ${code}`);
    expect([seen.Status, seen.ResponseCode]).toEqual([status, reported]);
  });

  it('cuts standard output at 24,000 bytes and standard error at 8,000', async () => {
    const seen = await run('head -c 30000 /dev/zero | tr "\\0" x; head -c 30000 /dev/zero | tr "\\0" y >&2');
    expect(Buffer.byteLength(seen.StandardOutputContent!)).toBe(24_000);
    expect(seen.StandardOutputContent).toMatch(/--output truncated--$/);
    expect(Buffer.byteLength(seen.StandardErrorContent!)).toBe(8_000);
  });

  it('shows nothing while it runs', async () => {
    const id = await send('echo early; sleep 4');
    const running = await until(id, ({ Status }) => Status === 'InProgress');
    expect(running.StandardOutputContent).toBe('');
    expect((await ended(id)).StandardOutputContent).toBe('early\n');
  });

  it('ends when nobody holds its output, and not before', async () => {
    const started = Date.now();
    expect((await run('sleep 6 & echo held')).StandardOutputContent).toBe('held\n');
    expect(Date.now() - started).toBeGreaterThan(5_500);
    const seen = await run('date +%s; sleep 30 </dev/null >/dev/null 2>&1 & date +%s');
    const [before, after] = seen.StandardOutputContent!.trim().split('\n').map(Number);
    expect(seen.Status).toBe('Success');
    expect(after - before).toBeLessThan(5);
    expect(Date.parse(seen.ExecutionEndDateTime!) - Date.parse(seen.ExecutionStartDateTime!)).toBeLessThan(20_000);
  });

  it('kills at its time limit without a word, and keeps what was printed', async () => {
    const seen = await run('trap "echo trapped" TERM; echo begun; sleep 60', { executionTimeout: ['5'] });
    expect(details(seen)).toMatch(/TimedOut/);
    expect(seen.StandardOutputContent).toContain('begun');
    expect(seen.StandardOutputContent).not.toContain('trapped');
  });

  it('is killed by a cancellation', async () => {
    const id = await send('trap "echo trapped" TERM; echo begun; sleep 60');
    await until(id, ({ Status }) => Status === 'InProgress');
    await at.ssm.send(new CancelCommandCommand({ CommandId: id }));
    const seen = await ended(id);
    expect(seen.Status).toBe('Cancelled');
    expect(seen.StandardOutputContent).not.toContain('trapped');
  });

  it('refuses an instance that it does not reach', async () => {
    const input = { InstanceIds: ['i-0123456789abcdef0'], DocumentName: 'AWS-RunShellScript' };
    expect(
      await refusal(at.ssm.send(new SendCommandCommand({ ...input, Parameters: { commands: ['true'] } }))),
    ).toMatch(/^InvalidInstanceId /);
  });
});

describe('S3', () => {
  const target = (name: string) => ({ Bucket: at.bucket, Key: `${at.prefix}${name}` });

  it('writes once where that is asked for', async () => {
    const put = () => at.s3.send(new PutObjectCommand({ ...target('once'), Body: 'one', IfNoneMatch: '*' }));
    expect(await refusal(put())).toBeNull();
    expect(await refusal(put())).toBe('PreconditionFailed 412');
  });

  it('refuses a wrong checksum and keeps nothing of it', async () => {
    const wrong = new PutObjectCommand({ ...target('sum'), Body: 'text', ChecksumCRC32: 'AAAAAA==' });
    expect(await refusal(at.s3.send(wrong))).toMatch(/ 400$/);
    expect(await refusal(at.s3.send(new GetObjectCommand(target('sum'))))).toMatch(
      /^(NoSuchKey 404|AccessDenied 403)$/,
    );
  });

  it("refuses a bucket that is not the expected owner's", async () => {
    const other = new HeadBucketCommand({ Bucket: at.bucket, ExpectedBucketOwner: '999999999999' });
    expect(await refusal(at.s3.send(other))).toMatch(/ 403$/);
  });

  it('serves a presigned URL as it was signed, until it expires', async () => {
    await at.s3.send(new PutObjectCommand({ ...target('signed'), Body: 'signed' }));
    const get = new GetObjectCommand(target('signed'));
    const url = await getSignedUrl(at.s3, get, { expiresIn: 60 });
    expect(await (await fetch(url)).text()).toBe('signed');
    const other = await fetch(url.replace('/signed?', '/once?'));
    expect([other.status, await other.text()]).toEqual([403, expect.stringContaining('SignatureDoesNotMatch')]);
    const brief = await getSignedUrl(at.s3, get, { expiresIn: 1 });
    await sleep(2_500);
    const late = await fetch(brief);
    expect([late.status, await late.text()]).toEqual([403, expect.stringContaining('Request has expired')]);
  });

  it('takes a form below its prefix and nowhere else, with the checksum that its policy names', async () => {
    const form = await createPresignedPost(at.s3, {
      Bucket: at.bucket,
      Key: `${at.prefix}form/\${filename}`,
      Fields: { 'x-amz-checksum-algorithm': 'SHA256' },
      Conditions: [['starts-with', '$x-amz-checksum-sha256', '']],
      Expires: 60,
    });
    const post = async (key: string, ...checksum: string[]) => {
      const body = new FormData();
      for (const [name, value] of Object.entries({ ...form.fields, key })) body.set(name, value);
      for (const each of checksum)
        body.set('x-amz-checksum-sha256', createHash('sha256').update(each).digest('base64'));
      body.set('file', new Blob(['content']), 'file');
      return (await fetch(form.url, { method: 'POST', body })).status;
    };
    expect(await post(`${at.prefix}form/a`, 'content')).toBe(204);
    expect(await post(`${at.prefix}form/a`, 'other')).toBe(400);
    expect(await post(`${at.prefix}form/a`)).toBe(403);
    expect(await post(`${at.prefix}elsewhere`, 'content')).toBe(403);
  });

  it('forgets an upload that is given up', async () => {
    const { UploadId } = await at.s3.send(new CreateMultipartUploadCommand(target('parts')));
    const upload = { ...target('parts'), UploadId };
    await at.s3.send(new UploadPartCommand({ ...upload, PartNumber: 1, Body: Buffer.alloc(1024) }));
    await at.s3.send(new AbortMultipartUploadCommand(upload));
    const late = new UploadPartCommand({ ...upload, PartNumber: 2, Body: Buffer.alloc(1024) });
    expect(await refusal(at.s3.send(late))).toBe('NoSuchUpload 404');
  });
});

describe('nx-ec2', () => {
  const workspace = join(mkdtempSync(join(tmpdir(), 'nx-ec2-conformance-')), 'workspace');
  const nx = (...args: string[]) =>
    new Promise<{ code: number; text: string }>((resolve) =>
      execFile(
        'npx',
        ['nx', ...args, '--outputStyle=stream', '--skipNxCache'],
        {
          cwd: workspace,
          env: { ...at.environment, NX_DAEMON: 'false', NX_TUI: 'false', NX_NO_CLOUD: 'true', CI: 'true' },
        },
        (error, out, err) =>
          resolve({ code: error ? Number(error.code) : 0, text: stripVTControlCharacters(out + err) }),
      ),
    );

  beforeAll(() => {
    execFileSync(process.execPath, [join(root, 'scripts/make-workspace.mjs'), workspace], { stdio: 'inherit' });
    const path = join(workspace, 'nx.json');
    const nxJson = JSON.parse(readFileSync(path, 'utf8'));
    const { bucket, region, instance, prefix, remoteRoot } = at;
    nxJson.plugins = [{ plugin: 'nx-ec2', options: { bucket, region, instance, prefix, remoteRoot } }];
    writeFileSync(path, JSON.stringify(nxJson));
  });
  afterAll(() => rmSync(join(workspace, '..'), { recursive: true, force: true }));

  it('syncs what changed, and nothing where nothing did', async () => {
    expect(await nx('run', 'digits:remote-sync')).toEqual({ code: 0, text: expect.stringMatching(/Synced \d+ files/) });
    expect(await nx('run', 'digits:remote-sync')).toEqual({
      code: 0,
      text: expect.stringContaining('nothing changed'),
    });
  });

  it('trains, and brings the artifacts back', async () => {
    const { code, text } = await nx('run', 'digits:remote-train');
    expect(text).toContain('epoch 8/8');
    expect(code).toBe(0);
    expect(readFileSync(join(workspace, 'digits/artifacts/training.log'), 'utf8')).toContain('epoch 1/8');
  });

  it('fails as a training fails', async () => {
    writeFileSync(join(workspace, 'digits/case.py'), 'import sys\nsys.exit(3)\n');
    const { code, text } = await nx('run', 'digits:remote-train', '--script=case.py');
    expect(text).toContain('exited with 3');
    expect(code).not.toBe(0);
  });

  it('stops a run with all its processes', async () => {
    writeFileSync(join(workspace, 'digits/case.py'), 'import time\ntime.sleep(300)\n');
    const training = nx('run', 'digits:remote-train', '--script=case.py');
    let text = '';
    for (const deadline = Date.now() + 60_000; !text.includes('cancelled') && Date.now() < deadline;) {
      await sleep(2_000);
      ({ text } = await nx('run', 'digits:remote-cancel', '--grace=1s'));
    }
    expect(text).toContain('cancelled');
    expect((await training).code).not.toBe(0);
  });

  it('finds all well with the doctor', async () => {
    expect((await nx('run', 'digits:remote-doctor')).code).toBe(0);
  });
});

describe('afterwards', () => {
  it('leaves nothing behind', async () => {
    const { bucket: Bucket, prefix: Prefix, remoteRoot } = at;
    const list = async () => (await at.s3.send(new ListObjectsV2Command({ Bucket, Prefix }))).Contents ?? [];
    for (const { Key } of await list()) await at.s3.send(new DeleteObjectCommand({ Bucket, Key }));
    expect(await list()).toEqual([]);
    expect((await at.s3.send(new ListMultipartUploadsCommand({ Bucket, Prefix }))).Uploads ?? []).toEqual([]);
    const { StandardOutputContent: out } = await run(`rm -rf ${remoteRoot}; [ -e ${remoteRoot} ] || echo gone`);
    expect(out).toBe('gone\n');
  });
});
