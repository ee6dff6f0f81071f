import { execFile, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { DescribeSessionsCommand } from '@aws-sdk/client-ssm';
import { LOGIN_USERS } from '../../aws/permissions/login-users';
import { sshProxy } from '../../cli/ssh-proxy';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { Printer } from '../../report/printer';
import { until } from '../../system/until.fixture';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { InstancePlace } from '../ports/place';
import { canRunSshd, freePort, Sshd } from './sshd.fixture';
import { parseServer } from './ssh-server';
import { writeHost } from './write-host';

const NAME = 'nx-ec2-model';
const KEY = `ssh-ed25519 ${'A'.repeat(68)}`;

describe('the answer about an SSH server', () => {
  const parse = (...lines: string[]) => parseServer(lines.join('\n'), 'i-1', 22);

  it('has the user, each key once, and whether Instance Connect is there', () => {
    expect(parse('user ubuntu', 'server', 'connect', `key ${KEY}`, `key ${KEY} comment`, '')).toEqual({
      user: 'ubuntu',
      keys: [KEY],
      hasInstanceConnect: true,
    });
  });

  it('gives no line to the file of known hosts that is not a key', () => {
    const hostile = [`key * ${KEY}`, `key @cert-authority ${KEY}`, `key ssh-dss ${'A'.repeat(68)}`, `key ${KEY}\rx`];
    expect(parse('user ubuntu', ...hostile, `key ${KEY}`).keys).toEqual([KEY]);
    const many = Array.from({ length: 1_000 }, (_, at) => `key ssh-ed25519 ${'A'.repeat(60)}${10_000 + at}`);
    expect(parse('user ubuntu', ...many).keys).toHaveLength(16);
  });

  it('says what is missing', () => {
    expect(() => parse('user ubuntu')).toThrow('i-1 has no SSH server.');
    expect(() => parse('user ubuntu', 'server')).toThrow(/Nothing listens on the port 22 of i-1/);
    expect(() => parse('user a b', `key ${KEY}`)).toThrow(/brought no answer/);
    expect(() => parse('')).toThrow(/brought no answer/);
  });
});

it('the login users are those of the runtime', () => {
  const text = readFileSync(join(__dirname, '../../runtime/system/account.py'), 'utf8');
  const list = /LOGIN_USERS = \(([^)]*)\)/.exec(text)![1];
  expect(LOGIN_USERS).toEqual([...list.matchAll(/"([^"]+)"/g)].map(([, name]) => name));
});

const withSshd = canRunSshd ? describe : describe.skip;

withSshd('ssh, with the SSH server of OpenSSH on the instance', () => {
  let at: Fixture;
  let pipeline: Pipeline;
  let sshd: Sshd;
  let directory: string;
  let proxies: Server;
  /** What the proxies failed with. */
  let failures: Error[];
  /** Proxies that have not ended. */
  let active: number;
  beforeAll(async () => {
    at = await startPipeline({ instances: ['box', 'other'] });
    pipeline = await new Pipeline(at, 'auto').open({ script: 'train.py' });
    sshd = await Sshd.start(at.aws.instances.metadataUrl(pipeline.context.instance));
  });
  afterAll(async () => {
    await sshd?.close();
    pipeline.close();
    await at.close();
  });
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'nx-ec2-ssh-'));
    process.env.NX_EC2_CACHE_DIRECTORY = join(directory, 'cache');
    failures = [];
    active = 0;
    // The process that ssh starts passes its bytes on to this one.
    proxies = createServer({ allowHalfOpen: true }, (socket) => {
      active++;
      const printer = new Printer({ stdout: new PassThrough().resume() as unknown as NodeJS.WriteStream });
      sshProxy(join(directory, 'cache', 'ssh', NAME, 'host.json'), { input: socket, output: socket }, printer)
        .catch((error: Error) => failures.push(error))
        .finally(() => {
          active--;
          socket.destroy();
        });
    });
    proxies.listen(join(directory, 'proxies'));
    await once(proxies, 'listening');
  });
  afterEach(async () => {
    await until(() => active === 0);
    proxies.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const write = (options: object = {}, port = sshd.port) => {
    const { context } = pipeline;
    return writeHost(new InstancePlace(context), {
      name: NAME,
      host: {
        version: 1,
        workspaceRoot: pipeline.workspace,
        project: pipeline.project,
        projectRoot: 'model',
        port,
        options: { bucket: 'bucket', instance: context.instance, ...options },
      },
      user: 'root',
      signal: new AbortController().signal,
    });
  };
  const config = () => join(directory, 'cache', 'ssh', `${NAME}.conf`);
  const throughProxies = () => {
    const script = `const s=require('net').connect(${JSON.stringify(join(directory, 'proxies'))});s.pipe(process.stdout);process.stdin.pipe(s);s.on('close',()=>process.exit())`;
    return ['-F', config(), '-o', `ProxyCommand='${process.execPath}' -e '${script.replaceAll("'", `'\\''`)}'`];
  };
  const run = (program: string, ...words: string[]) =>
    new Promise<{ code: number; stdout: string; stderr: string }>((resolve) =>
      execFile(program, [...throughProxies(), ...words], { maxBuffer: 2 ** 26 }, (error, stdout, stderr) =>
        resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr }),
      ),
    );
  const activeSessions = async () =>
    (await at.ssm.send(new DescribeSessionsCommand({ State: 'Active' }))).Sessions!.length;

  it('runs commands, ends with their exit code, and leaves no session', async () => {
    expect(await write()).toMatchObject({ user: 'root', instance: pipeline.context.instance });
    expect(await run('ssh', NAME, 'echo "$USER"; exit 3')).toMatchObject({ code: 3, stdout: 'root\n' });
    await until(async () => (await activeSessions()) === 0);
    expect(failures).toEqual([]);
    // The keys of the host were known: no command was sent again.
    const calls = at.aws.calls.all().map(({ action }) => action);
    expect(calls.filter((action) => action === 'ssm:SendCommand')).toHaveLength(1);
    expect(calls).toContain('ec2-instance-connect:SendSSHPublicKey');
  });

  it('copies files in both directions, several at once', async () => {
    await write();
    const files = [0, 1].map((each) => join(directory, `sent-${each}`));
    for (const file of files) writeFileSync(file, randomBytes(4 * 1024 * 1024));
    const copies = await Promise.all(
      files.map(async (file) => [
        await run('scp', '-q', file, `${NAME}:${file}.there`),
        await run('scp', '-q', `${NAME}:${file}.there`, `${file}.back`),
      ]),
    );
    expect(copies.flat().map(({ code, stderr }) => [code, stderr])).toEqual(Array(4).fill([0, '']));
    for (const file of files) expect(readFileSync(`${file}.back`).equals(readFileSync(file))).toBe(true);
  });

  it('is let in by the key of this host as its user only', async () => {
    await write();
    expect(await run('ssh', '-l', 'daemon', NAME, 'true')).toMatchObject({
      code: 255,
      stderr: expect.stringContaining('Permission denied (publickey'),
    });
  });

  it('refuses a server with another host key', async () => {
    await write();
    const knownHosts = join(directory, 'cache', 'ssh', NAME, 'known_hosts');
    const other = join(directory, 'other');
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', other]);
    writeFileSync(
      knownHosts,
      readFileSync(knownHosts, 'utf8').replace(/ssh-ed25519 \S+/, readFileSync(`${other}.pub`, 'utf8').slice(0, 80)),
    );
    const { code, stderr } = await run('ssh', NAME, 'true');
    expect([code, stderr]).toEqual([255, expect.stringContaining('Host key verification failed')]);
    // The target asks for the keys again.
    await write();
    expect(await run('ssh', NAME, 'true')).toMatchObject({ code: 0 });
  });

  it('asks for the keys of an instance that has taken the place of another', async () => {
    const other = at.aws.named.get('other')!.id;
    await write({ instance: other });
    const knownHosts = join(directory, 'cache', 'ssh', NAME, 'known_hosts');
    expect(readFileSync(knownHosts, 'utf8')).toContain(`# ${pipeline.context.instance}\n`);
    // The server asks the first instance for its keys.
    const { code, stderr } = await run('ssh', NAME, 'true');
    expect([code, stderr]).toEqual([255, expect.stringContaining('Permission denied')]);
    expect(readFileSync(knownHosts, 'utf8')).toContain(`# ${other}\n${NAME} ssh-ed25519 `);
  });

  it('ends the session when ssh is interrupted, also before it has begun', async () => {
    await write();
    for (const moment of ['begun', 'not begun']) {
      const ssh = spawn('ssh', [...throughProxies(), NAME, 'echo begun; exec sleep 600'], {
        stdio: ['pipe', 'pipe', 'ignore'],
      });
      if (moment === 'begun') await once(ssh.stdout, 'data');
      else await until(() => active > 0);
      ssh.kill('SIGINT');
      await once(ssh, 'exit');
      await until(async () => active === 0 && (await activeSessions()) === 0);
    }
  });

  it.each(['begun', 'not begun'])(
    'ends the session at a signal before the proxy ends, where it has %s',
    async (moment) => {
      await write();
      at.aws.calls.clear();
      const ssh = spawn('ssh', [...throughProxies(), NAME, 'echo begun; exec sleep 600'], {
        stdio: ['pipe', 'pipe', 'ignore'],
      });
      const exited = once(ssh, 'exit');
      const started = () => at.aws.calls.all().some(({ action }) => action === 'ssm:StartSession');
      if (moment === 'begun') await once(ssh.stdout, 'data');
      else await until(started);
      process.emit('SIGHUP', 'SIGHUP');
      await until(() => active === 0);
      // Nothing is on its way any more.
      expect(await activeSessions()).toBe(0);
      await exited;
      expect(failures).toEqual([]);
    },
  );

  it('says that the server does not run, or can be reached no more', async () => {
    const port = await freePort();
    await expect(write({}, port)).rejects.toMatchObject({ code: 'SSH_UNAVAILABLE' });
    await write();
    const host = join(directory, 'cache', 'ssh', NAME, 'host.json');
    writeFileSync(host, readFileSync(host, 'utf8').replace(`"port": ${sshd.port}`, `"port": ${port}`));
    expect(await run('ssh', NAME, 'true')).toMatchObject({ code: 255 });
    expect(failures[0]).toMatchObject({
      code: 'SSH_UNAVAILABLE',
      message: expect.stringContaining(`Nothing listens on the port ${port}`),
    });
  });

  it('says what is not allowed', async () => {
    await write();
    at.aws.faults.add({ action: 'SendSSHPublicKey', error: { code: 'AccessDeniedException', status: 400 } });
    expect(await run('ssh', NAME, 'true')).toMatchObject({ code: 255 });
    expect(failures[0]).toMatchObject({ code: 'SSH_KEY', message: expect.stringContaining('ec2:osuser root') });
  });

  it("does not replace another project's host", async () => {
    await write();
    const host = join(directory, 'cache', 'ssh', NAME, 'host.json');
    writeFileSync(host, readFileSync(host, 'utf8').replace(pipeline.project, 'another'));
    await expect(write()).rejects.toMatchObject({ code: 'SSH_CONFIG', message: expect.stringContaining('another in') });
    mkdirSync(join(directory, 'cache', 'ssh', 'x'), { recursive: true });
    await expect(sshProxy(join(directory, 'cache', 'ssh', 'x', 'host.json'))).rejects.toMatchObject({
      code: 'SSH_CONFIG',
    });
  });
});
