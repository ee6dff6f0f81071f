import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { Aws } from '../../src/aws/clients';
import { Remote } from '../../src/command/remote';
import { findInstance } from '../../src/instance/describe/find';
import { startLocalAws } from '../../src/local-aws/server';
import { checkServer } from '../../src/doctor/check-server';
import { StoreKeys } from '../../src/store/keys';
import { postForm } from '../../src/store/objects/post-form';
import { Store } from '../../src/store/store';
import { program, interopPython } from './programs';
import type { LocalAws } from '../../src/local-aws/types';

const python = interopPython();
const cli = program('aws');
const withPython = python ? it : it.skip;
const withCli = cli ? it : it.skip;
const plugin = program('session-manager-plugin');
const withPlugin = cli && plugin ? it : it.skip;
const absent = (what: string, there: unknown) => (there ? '' : ` (SKIPPED: ${what} is not here)`);

describe('other clients on local AWS', () => {
  const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-interop-'));
  let aws: LocalAws;
  let environment: NodeJS.ProcessEnv;

  beforeAll(async () => {
    aws = await startLocalAws({ directory, buckets: ['interop'], instances: ['box'], boot: 500 });
    environment = { PATH: process.env.PATH, HOME: directory, ...aws.environment };
  });
  afterAll(async () => {
    await aws.close();
    rmSync(directory, { recursive: true, force: true });
  });

  // The server answers from this process, so it must not be blocked by waiting for the client.
  const run = (command: string, args: string[], keys = '') =>
    new Promise<string>((resolve, reject) => {
      const child = spawn(command, args, { env: environment });
      child.stdin.write(keys);
      let out = '';
      let errors = '';
      child.stdout.on('data', (data) => (out += data));
      child.stderr.on('data', (data) => (errors += data));
      child.on('error', reject);
      child.on('close', (code) => (code === 0 ? resolve(out) : reject(new Error(`${args.join(' ')}: ${errors}`))));
    });

  withPython(`boto3 does all that it should${absent('boto3', python)}`, async () => {
    const seen = JSON.parse(await run(python!, [join(__dirname, 'boto3_client.py'), 'interop', directory]));
    expect(seen).toEqual({
      account: '000000000000',
      role: 'arn:aws:sts::000000000000:assumed-role/interop/interop',
      stranger: 'InvalidClientTokenId 403',
      forger: 'SignatureDoesNotMatch 403',
      buckets: ['interop'],
      objects: {
        conditional: 'PreconditionFailed 412',
        missing: 'NoSuchKey 404',
        wrong: 'BadDigest 400',
      },
      multipart: { size: 20 << 20, parts: 1, gone: 'NoSuchUpload 404' },
      presigned: { body: 'by url', refused: [403, 403], puts: [200, 200, 403] },
      forms: { taken: 204, body: 'by form', 'too large': 400 },
      commands: {
        same: true,
        output: 'hello\n',
        errors: 'warned\n',
        status: 'Success',
        failed: ['Failed', 3],
        offline: 'InvalidInstanceId 400',
      },
    });
  });

  withPlugin(
    `the AWS CLI and its session-manager-plugin run a command, a terminal and a shell${absent('session-manager-plugin', cli && plugin)}`,
    async () => {
      const target = ['--target', aws.named.get('box')!.id];
      const session = (keys: string, document?: string, parameters: Record<string, string[]> = {}) =>
        run(
          cli!,
          [
            ...['ssm', 'start-session', ...target, '--region', 'eu-west-1'],
            ...(document ? ['--document-name', document, '--parameters', JSON.stringify(parameters)] : []),
          ],
          keys,
        );
      const apart = await session('', 'AWS-StartNonInteractiveCommand', {
        command: [`sh -c 'echo out; echo err >&2; exit 3'`],
        separateOutputStream: ['true'],
      });
      expect(apart).toMatch(/out\n/);
      expect(apart).toMatch(/err\n/);
      expect(apart).toMatch(/EXIT_CODE: 3\s+Exiting session/);
      const whole = await session('', 'AWS-StartNonInteractiveCommand', { command: ['seq 1 3000'] });
      expect(whole).toContain(Array.from({ length: 3000 }, (_, n) => `${n + 1}\n`).join(''));
      const asked = { command: ['echo ready; read word; echo "got $word"'] };
      expect(await session('word\r', 'AWS-StartInteractiveCommand', asked)).toMatch(/got word\s+Exiting session/);
      expect(await session('echo $((40 + 2)); exit\r')).toMatch(/42\s+Exiting session/);
    },
  );

  withCli(
    `the AWS CLI puts, lists, gets, presigns and removes, and runs a command${absent('the AWS CLI', cli)}`,
    async () => {
      const file = join(directory, 'file with spaces');
      writeFileSync(file, Buffer.alloc(9 << 20, 'x'));
      const key = "s3://interop/dir/it's $(x) \u00fc";
      await run(cli!, ['s3', 'cp', '--quiet', file, key]);
      expect(await run(cli!, ['s3', 'ls', 's3://interop/dir/'])).toContain("9437184 it's $(x) \u00fc");
      await run(cli!, ['s3', 'cp', '--quiet', key, `${file}.back`]);
      expect(readFileSync(`${file}.back`).equals(readFileSync(file))).toBe(true);
      const url = (await run(cli!, ['s3', 'presign', key])).trim();
      expect((await (await fetch(url)).arrayBuffer()).byteLength).toBe(9 << 20);
      await run(cli!, ['s3', 'rm', '--quiet', key]);
      expect((await fetch(url)).status).toBe(404);

      const instance = aws.named.get('box')!.id;
      const json = async (...args: string[]) => JSON.parse(await run(cli!, [...args, '--output', 'json']));
      const sent = await json(
        ...['ssm', 'send-command', '--instance-ids', instance, '--document-name', 'AWS-RunShellScript'],
        ...['--parameters', 'commands=echo hello'],
      );
      const id = ['--command-id', sent.Command.CommandId, '--instance-id', instance];
      await run(cli!, ['ssm', 'wait', 'command-executed', ...id]);
      expect((await json('ssm', 'get-command-invocation', ...id)).StandardOutputContent).toBe('hello\n');
      const described = await json('ec2', 'describe-instances', '--filters', 'Name=tag:Name,Values=box');
      expect(described.Reservations[0].Instances[0].InstanceId).toBe(instance);
    },
  );
});

describe('ours on moto', () => {
  const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-moto-'));
  const before = { ...process.env };
  let moto: ChildProcess | undefined;
  let aws: Aws;

  beforeAll(async () => {
    if (!python) return;
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    moto = spawn(join(python, '../moto_server'), ['-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
    while (!(await fetch(url).catch(() => null))) await new Promise((resolve) => setTimeout(resolve, 100));
    Object.assign(process.env, {
      AWS_ENDPOINT_URL: url,
      AWS_REGION: 'eu-west-1',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
    });
    aws = new Aws({});
  });
  afterAll(() => {
    aws?.close();
    moto?.kill();
    process.env = before;
    rmSync(directory, { recursive: true, force: true });
  });

  withPython(
    `keeps what our store writes, and gives it back by our presigned URLs and forms${absent('moto', python)}`,
    async () => {
      const { CreateBucketCommand } = await import('@aws-sdk/client-s3');
      await (
        await aws.s3()
      ).send(
        new CreateBucketCommand({ Bucket: 'interop', CreateBucketConfiguration: { LocationConstraint: 'eu-west-1' } }),
      );
      const store = new Store(aws, { bucket: 'interop' });
      expect(await store.bucketRegion()).toBe('eu-west-1');
      expect(await store.put('a b/\u00fc', Buffer.from('one'), { onlyIfNew: true })).toBe(true);
      expect(await store.put('a b/\u00fc', Buffer.from('two'), { onlyIfNew: true })).toBe(false);
      expect(String(await store.get('a b/\u00fc', 100))).toBe('one');
      expect(await store.get('none', 100)).toBeNull();
      expect(await (await fetch(await store.presignGet('a b/\u00fc'))).text()).toBe('one');
      const large = Buffer.alloc(20 << 20, 'abc');
      await store.upload('large', Readable.from(chunks(large)));
      expect((await store.get('large', large.length))!.equals(large)).toBe(true);
      const { url, fields } = await store.presignPost('out/');
      const checksum = createHash('sha256').update('by form').digest('base64');
      const added = { 'Content-Type': 'text/plain', 'x-amz-checksum-sha256': checksum };
      const form = new FormData();
      for (const [name, value] of Object.entries({ ...fields, ...added, key: 'out/x' })) form.set(name, value);
      form.set('file', new Blob(['by form']), 'x');
      expect((await fetch(url, { method: 'POST', body: form })).status).toBe(204);
      expect(String(await store.get('out/x', 100))).toBe('by form');
      await store.delete(['a b/\u00fc', 'large', 'out/x']);
      expect(await store.get('large', large.length)).toBeNull();
    },
  );

  withPython(`finds an instance and takes our command${absent('moto', python)}`, async () => {
    const { RunInstancesCommand, DescribeImagesCommand } = await import('@aws-sdk/client-ec2');
    const ec2 = await aws.ec2();
    const image = (await ec2.send(new DescribeImagesCommand({ Owners: ['amazon'] }))).Images![0].ImageId;
    const launched = await ec2.send(
      new RunInstancesCommand({
        ImageId: image,
        MinCount: 1,
        MaxCount: 1,
        TagSpecifications: [{ ResourceType: 'instance', Tags: [{ Key: 'Name', Value: 'box' }] }],
      }),
    );
    const id = launched.Instances![0].InstanceId!;
    expect(await findInstance(aws, { name: 'box' })).toMatchObject({ id, state: 'running' });
    await expect(findInstance(aws, { id: 'i-0123456789abcdef0' })).rejects.toThrow(/InvalidInstanceID.NotFound/);
    // moto runs nothing: the command is accepted and ends without a reply, which ours must say, not take for one.
    const keys = new StoreKeys('', 'p');
    const remote = new Remote({
      aws,
      store: new Store(aws, { bucket: 'interop' }),
      keys,
      instance: id,
      assertInstanceExists: async () => undefined,
    });
    await expect(
      remote.send({ op: 'probe' } as unknown as Parameters<Remote['send']>[0], { comment: 'nx-ec2: interop' }),
    ).rejects.toThrow();
    const { ListCommandsCommand } = await import('@aws-sdk/client-ssm');
    const listed = await (await aws.ssm()).send(new ListCommandsCommand({}));
    expect(listed.Commands).toMatchObject([
      { InstanceIds: [id], DocumentName: 'AWS-RunShellScript', Comment: 'nx-ec2: interop' },
    ]);
  });
});

const versitygw = program('versitygw');
const withVersitygw = versitygw ? it : it.skip;

describe('ours on versitygw', () => {
  const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-versitygw-'));
  const before = { ...process.env };
  let server: ChildProcess | undefined;
  let aws: Aws;

  beforeAll(async () => {
    if (!versitygw) return;
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const key = { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test-secret' };
    const options = [
      '--port',
      `127.0.0.1:${port}`,
      '--access',
      'test',
      '--secret',
      'test-secret',
      '--region',
      'eu-west-1',
    ];
    const sidecar = join(directory, 'metadata');
    const files = join(directory, 'files');
    for (const each of [sidecar, files]) mkdirSync(each);
    // Not every file system of temporary files has extended attributes.
    server = spawn(versitygw, [...options, 'posix', '--sidecar', sidecar, files], { stdio: 'ignore' });
    while (!(await fetch(url).catch(() => null))) {
      if (server.exitCode !== null) throw new Error(`versitygw exited with ${server.exitCode}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    Object.assign(process.env, { AWS_ENDPOINT_URL: url, AWS_REGION: 'eu-west-1', ...key });
    aws = new Aws({});
  });
  afterAll(() => {
    aws?.close();
    server?.kill();
    process.env = before;
    rmSync(directory, { recursive: true, force: true });
  });

  withVersitygw(`finds there all that the store needs${absent('versitygw', versitygw)}`, async () => {
    const { CreateBucketCommand } = await import('@aws-sdk/client-s3');
    await (await aws.s3()).send(new CreateBucketCommand({ Bucket: 'interop' }));
    const store = new Store(aws, { bucket: 'interop' });
    const { checks, keys } = await checkServer(store, 'v2/test/', {
      launches: true,
      postForm: (post, fields, body) => postForm(aws, post, fields, body),
    });
    expect(checks.filter(({ ok }) => ok !== true)).toEqual([]);
    await store.delete(keys);
    expect(await store.list('', 100)).toEqual([]);
  });
});

function* chunks(data: Buffer): Generator<Buffer> {
  for (let at = 0; at < data.length; at += 65_536) yield data.subarray(at, at + 65_536);
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
