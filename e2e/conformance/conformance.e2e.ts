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
  GetConnectionStatusCommand,
  SendCommandCommand,
  type GetCommandInvocationCommandOutput,
} from '@aws-sdk/client-ssm';
import { createPresignedPost } from '@aws-sdk/s3-presigned-post';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { Aws } from '../../src/aws/clients';
import { openStream } from '../../src/command/session/stream';
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
  it('runs a script by sh without HOME, with /dev/null as its input and the ids of its command and instance', async () => {
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

  it('cuts output that reaches the limit exactly', async () => {
    const print = async (bytes: number) => (await run(`head -c ${bytes} /dev/zero | tr "\\0" x`)).StandardOutputContent;
    expect(await print(23_999)).toBe('x'.repeat(23_999));
    expect(await print(24_000)).toMatch(/^x{23980}--output truncated--$/);
  });

  it('adds a message of its own to standard output at exit code 168, and to both outputs at 169', async () => {
    expect(await run('echo out; echo err >&2; exit 168')).toMatchObject({
      StandardOutputContent: expect.stringMatching(/^out\n[^]*Step exited with code 168\./),
      StandardErrorContent: '',
    });
    expect(await run('echo out; echo err >&2; exit 169')).toMatchObject({
      StandardOutputContent: expect.stringMatching(/^out\n[^]*Step exited with code 169\./),
      StandardErrorContent: expect.stringMatching(/^err\n[^]*exit status 169[^]*Step exited with code 169\./),
    });
  });

  it('has pipes for its output, and may open 1,024 files', async () => {
    const seen = await run('[ -p /dev/stdout ] && echo out; [ -p /dev/stderr ] && echo err; ulimit -S -n');
    expect(seen.StandardOutputContent).toBe('out\nerr\n1024\n');
  });

  it('runs in an absolute working directory; without it nothing runs, and a relative one does not count', async () => {
    const within = async (directory: string) => run('pwd', { workingDirectory: [directory] });
    expect((await within('/var/tmp')).StandardOutputContent).toBe('/var/tmp\n');
    const usual = (await run('pwd')).StandardOutputContent;
    expect((await within('no-such-directory')).StandardOutputContent).toBe(usual);
    expect(await within(`${at.remoteRoot}/missing`)).toMatchObject({
      Status: 'Failed',
      ResponseCode: 1,
      StandardOutputContent: '',
      StandardErrorContent: expect.stringMatching(/failed to run commands: fork\/exec .*no such file or directory/),
    });
  });

  it('replaces a reference to a parameter, and runs nothing where there is no such parameter', async () => {
    const image = '/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64';
    expect((await run(`echo {{ssm:${image}}}`)).StandardOutputContent).toMatch(/^ami-[0-9a-f]+\n$/);
    expect(await run('echo {{ssm:nx-ec2-conformance-no-such-parameter}}')).toMatchObject({
      Status: 'Failed',
      ResponseCode: -1,
      StandardOutputContent: '',
    });
    expect((await run("echo '{{ commands }} $$'")).StandardOutputContent).toBe('{{ commands }} $$\n');
  });

  it('ends at its time limit even if a process that left its group holds the output open', async () => {
    const started = Date.now();
    const seen = await run('echo before; setsid sleep 300 &', { executionTimeout: ['5'] });
    expect(seen).toMatchObject({ Status: 'Failed', ResponseCode: 1, StandardOutputContent: 'before\n' });
    expect(seen.StandardErrorContent).toContain('no such process');
    expect(Date.now() - started).toBeLessThan(250_000);
  });

  it('is in progress while it waits behind five others, and does not run if it is cancelled then', async () => {
    const [free, ran] = [`${at.remoteRoot}/free`, `${at.remoteRoot}/ran`];
    await run(`mkdir -p ${at.remoteRoot}`);
    const ids: string[] = [];
    for (let sent = 0; sent < 5; sent++) ids.push(await send(`while [ ! -e ${free} ]; do sleep 0.2; done`));
    for (const id of ids) await until(id, ({ Status }) => Status === 'InProgress');
    const waiting = await send(`touch ${ran}`);
    expect((await until(waiting, ({ Status }) => Status !== 'Pending')).Status).toBe('InProgress');
    await at.ssm.send(new CancelCommandCommand({ CommandId: waiting }));
    await sleep(1_000);
    // Frees a slot for the command that lets the others end.
    await at.ssm.send(new CancelCommandCommand({ CommandId: ids[0] }));
    expect((await run(`touch ${free}; [ -e ${ran} ] || echo never`)).StandardOutputContent).toBe('never\n');
    for (const id of ids.slice(1)) expect((await ended(id)).Status).toBe('Success');
  });

  it('loses a reply of more than 120,000 bytes of JSON on the message gateway only', async () => {
    const { Status } = await at.ssm.send(new GetConnectionStatusCommand({ Target: at.instance }));
    const id = await send('head -c 23000 /dev/zero | tr "\\0" "<"');
    await until(id, (seen) => seen.Status !== 'Pending');
    for (let later = 0; later < 3; later++) await run('sleep 1');
    expect((await look(id))!.Status).toBe(Status === 'connected' ? 'InProgress' : 'Success');
  });

  it('shows no output while it runs', async () => {
    const id = await send('echo early; sleep 4');
    const running = await until(id, ({ Status }) => Status === 'InProgress');
    expect(running.StandardOutputContent).toBe('');
    expect((await ended(id)).StandardOutputContent).toBe('early\n');
  });

  it('ends only when no process holds its output open', async () => {
    const started = Date.now();
    expect((await run('sleep 6 & echo held')).StandardOutputContent).toBe('held\n');
    expect(Date.now() - started).toBeGreaterThan(5_500);
    const seen = await run('date +%s; sleep 300 </dev/null >/dev/null 2>&1 & date +%s');
    const [before, after] = seen.StandardOutputContent!.trim().split('\n').map(Number);
    expect(seen.Status).toBe('Success');
    expect(after - before).toBeLessThan(250);
    expect(Date.parse(seen.ExecutionEndDateTime!) - Date.parse(seen.ExecutionStartDateTime!)).toBeLessThan(250_000);
  });

  it('kills the command at its time limit without a message, and keeps what was printed', async () => {
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

describe('a session', () => {
  const before = { ...process.env };
  afterAll(() => void (process.env = before));

  const session = async (command: string, signal?: number) => {
    Object.assign(process.env, at.environment);
    const aws = new Aws({ region: at.region });
    let text = '';
    let said = () => undefined as void;
    const first = new Promise<void>((resolve) => (said = resolve));
    try {
      const stream = await openStream(aws, at.instance, {
        document: 'AWS-StartNonInteractiveCommand',
        parameters: { command: [command], separateOutputStream: ['true'] },
        reason: 'nx-ec2: conformance',
        onOutput: (data) => {
          text += data.toString();
          said();
        },
        onError: () => undefined,
      });
      if (signal !== undefined) {
        await first;
        stream.write(Buffer.from([signal]));
      }
      const { exitCode } = await stream.ended;
      return { exitCode, text };
    } finally {
      aws.close();
    }
  };

  it('has pipes, 1,024 open files, and the exit code of its command', async () => {
    const seen = await session(`sh -c '[ -p /dev/stdout ] && echo pipe; ulimit -S -n; exit 3'`);
    expect(seen).toEqual({ exitCode: 3, text: 'pipe\n1024\n' });
  });

  it('ends with 1 after a Ctrl+C, whatever a trap ends with', async () => {
    const trap = `sh -c 'trap "exit 3" INT; echo begun; while :; do sleep 0.1; done'`;
    expect(await session(trap, 3)).toEqual({ exitCode: 1, text: 'begun\n' });
  });
});

describe('S3', () => {
  const target = (name: string) => ({ Bucket: at.bucket, Key: `${at.prefix}${name}` });

  it('writes an object only once if the request says so (If-None-Match)', async () => {
    const put = () => at.s3.send(new PutObjectCommand({ ...target('once'), Body: 'one', IfNoneMatch: '*' }));
    expect(await refusal(put())).toBeNull();
    expect(await refusal(put())).toBe('PreconditionFailed 412');
  });

  it('refuses an object with a wrong checksum, and stores nothing', async () => {
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

  it('accepts a presigned form only below its prefix, and only with the checksum that its policy names', async () => {
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

  it('removes an aborted multipart upload', async () => {
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
    execFileSync(process.execPath, [join(root, 'scripts/workspace/make-workspace.mjs'), workspace], {
      stdio: 'inherit',
    });
    const path = join(workspace, 'nx.json');
    const nxJson = JSON.parse(readFileSync(path, 'utf8'));
    const { bucket, region, instance, prefix, remoteRoot } = at;
    nxJson.plugins = [{ plugin: 'nx-ec2', options: { bucket, region, instance, prefix, remoteRoot } }];
    writeFileSync(path, JSON.stringify(nxJson));
  });
  afterAll(() => rmSync(join(workspace, '..'), { recursive: true, force: true }));

  it('syncs what changed, and sends nothing if nothing changed', async () => {
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

  it('fails if the training fails', async () => {
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
      ({ text } = await nx('run', 'digits:remote-cancel', '--gracePeriod=1s'));
    }
    expect(text).toContain('cancelled');
    expect((await training).code).not.toBe(0);
  });

  it('passes every check of the doctor', async () => {
    expect((await nx('run', 'digits:remote-doctor')).code).toBe(0);
  });
});

describe('afterwards', () => {
  it('no resource is left', async () => {
    const { bucket: Bucket, prefix: Prefix, remoteRoot } = at;
    const list = async () => (await at.s3.send(new ListObjectsV2Command({ Bucket, Prefix }))).Contents ?? [];
    for (const { Key } of await list()) await at.s3.send(new DeleteObjectCommand({ Bucket, Key }));
    expect(await list()).toEqual([]);
    expect((await at.s3.send(new ListMultipartUploadsCommand({ Bucket, Prefix }))).Uploads ?? []).toEqual([]);
    const { StandardOutputContent: out } = await run(`rm -rf ${remoteRoot}; [ -e ${remoteRoot} ] || echo gone`);
    expect(out).toBe('gone\n');
  });
});
