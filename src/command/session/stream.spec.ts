import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { DescribeSessionsCommand, PutParameterCommand } from '@aws-sdk/client-ssm';
import { Aws } from '../../aws/clients';
import type { Fault } from '../../local-aws/link/faults';
import { startFixture, type Fixture } from '../../local-aws/local-aws.fixture';
import { openStream, type StreamOptions } from './stream';
import { until } from '../../system/until.fixture';
import type { LocalAwsOptions } from '../../local-aws/types';

const NON_INTERACTIVE = 'AWS-StartNonInteractiveCommand';
const INTERACTIVE = 'AWS-StartInteractiveCommand';
/** May do everything but start sessions. */
const DENIED = {
  accessKeyId: 'AKIADENIEDDENIED0001',
  secretAccessKey: 'denied',
  arn: 'arn:aws:iam::000000000000:user/denied',
  deny: ['ssm:StartSession'],
};

describe('a session', () => {
  const before = { ...process.env };
  let at: Fixture;
  let aws: Aws;
  let box: string;

  const begin = async (options: Partial<LocalAwsOptions> = {}) => {
    at = await startFixture(options);
    box = at.aws.named.get('box')!.id;
    Object.assign(process.env, at.aws.environment);
    aws = new Aws({});
  };
  afterEach(async () => {
    aws.close();
    await at.close();
    process.env = { ...before };
  });

  describe('whose agent never opens its end of the stream', () => {
    const NEVER: Fault = { service: 'session', action: 'output', frame: 'drop', times: 1e9 };
    const request = {
      document: NON_INTERACTIVE,
      parameters: { command: ['true'], separateOutputStream: ['true'] },
      reason: 'test',
      onOutput: () => undefined,
      onError: () => undefined,
    };
    const open = (within: number) => openStream(aws, box, request, within);
    const active = async () => (await at.ssm.send(new DescribeSessionsCommand({ State: 'Active' }))).Sessions;

    it('fails after two sessions, and both are terminated', async () => {
      await begin({ faults: [NEVER] });
      await expect(open(300)).rejects.toMatchObject({
        code: 'SESSION_UNAVAILABLE',
        message: expect.stringMatching(/agent on i-\w+ did not join a session within 0.3 s, in 2 attempts/),
      });
      expect(await active()).toEqual([]);
    });

    it('is replaced by another session, which works', async () => {
      await begin({ faults: [NEVER] });
      const ssm = await aws.ssm();
      let started = 0;
      ssm.middlewareStack.add(
        (next, { commandName }) =>
          (args) => {
            if (commandName === 'StartSessionCommand' && ++started === 2) at.aws.faults.clear();
            return next(args);
          },
        { step: 'initialize' },
      );
      const stream = await open(3_000);
      await expect(stream.ended).resolves.toMatchObject({ exitCode: 0 });
      expect(started).toBe(2);
    });
  });

  /** Opens a stream and keeps what comes. */
  const open = async (document: string, command: string, more: Partial<StreamOptions> = {}) => {
    const output: Buffer[] = [];
    const errors: Buffer[] = [];
    const parameters: Record<string, string[]> = { command: [command] };
    if (document === NON_INTERACTIVE) parameters.separateOutputStream = ['true'];
    const stream = await openStream(aws, box, {
      document,
      parameters,
      reason: 'test',
      onOutput: (data) => output.push(data),
      onError: (data) => errors.push(data),
      ...more,
    });
    const text = () => Buffer.concat(output).toString();
    return {
      stream,
      text,
      bytes: () => Buffer.concat(output),
      errors: () => Buffer.concat(errors).toString(),
      said: (word: string) =>
        until(() => text().includes(word), { what: () => `${word} in ${JSON.stringify(text())}` }),
    };
  };
  const problem = (promise: Promise<unknown>) =>
    promise.then(
      () => 'none',
      (error: { code?: string; message: string }) => `${error.code}: ${error.message}`,
    );

  /** No character of it is U+FFFD, and its end is a whole one: of such the agent delivers every byte. */
  const large = () => {
    const bytes = randomBytes(5 << 20);
    for (let found = bytes.indexOf('\ufffd'); found >= 0; found = bytes.indexOf('\ufffd')) bytes[found] = 0;
    bytes.fill('\n', bytes.length - 4);
    const file = join(at.directory, 'large');
    writeFileSync(file, bytes);
    return { file, bytes };
  };
  const hash = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

  it.each<[string, Fault[]]>([
    ['nothing', []],
    [
      'frames twice, swapped and lost, and cuts',
      [
        { service: 'session', action: 'output', frame: 'duplicate', after: 30, times: 40 },
        { service: 'session', action: 'output', frame: 'swap', after: 5, times: 50 },
        { service: 'session', action: 'output', frame: 'drop', after: 20, times: 20 },
        { service: 'session', action: 'input', frame: 'drop', after: 10, times: 20 },
        { service: 'session', action: 'input', frame: 'duplicate', times: 20 },
        { service: 'session', action: 'output', frame: 'cut', bytes: 1_000_000 },
        { service: 'session', action: 'output', frame: 'cut', bytes: 1_500_000 },
      ],
    ],
  ])('delivers 5 MB in order, each byte once, through %s', async (_, faults) => {
    await begin({ faults });
    const { file, bytes } = large();
    const { stream, bytes: got } = await open(NON_INTERACTIVE, `cat '${file}'`);
    expect(await stream.ended).toMatchObject({ exitCode: 0 });
    expect([got().length, hash(got())]).toEqual([bytes.length, hash(bytes)]);
  });

  it('delivers standard error separately, and the exit code', async () => {
    await begin();
    const { stream, text, errors } = await open(NON_INTERACTIVE, `sh -c 'echo out; echo err >&2; exit 3'`);
    expect(await stream.ended).toMatchObject({ exitCode: 3 });
    expect([text(), errors()]).toEqual(['out\n', 'err\n']);
  });

  it('splits a command as a shell does and runs it without one', async () => {
    await begin();
    const { stream, text } = await open(NON_INTERACTIVE, `printf '%s|' "a  b" c\\ d $HOME * # nothing`);
    await stream.ended;
    expect(text()).toBe('a  b|c d|$HOME|*|');
  });

  it('names the program that could not be started', async () => {
    await begin();
    const missing = await open(NON_INTERACTIVE, '/nowhere/nothing');
    expect(await missing.stream.ended).toMatchObject({ exitCode: 1 });
    expect(missing.errors()).toContain('/nowhere/nothing');
    const open_ = await open(NON_INTERACTIVE, `echo 'open`);
    await open_.stream.ended;
    expect(open_.errors()).toContain('closing quote');
  });

  it('without separate streams delivers no output before the end, and no exit code', async () => {
    await begin();
    const { stream, text } = await open(NON_INTERACTIVE, `sh -c 'echo one; sleep 0.5; echo two >&2; exit 3'`, {
      parameters: { command: [`sh -c 'echo one; sleep 0.5; echo two >&2; exit 3'`] },
    });
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect(text()).toBe('');
    expect(await stream.ended).toMatchObject({ exitCode: null });
    expect(text()).toBe('one\ntwo\n');
  });

  it('delivers output as it is written, one network delay later', async () => {
    await begin({ network: { client: { roundTrip: 200 } } });
    const gate = join(at.directory, 'gate');
    const { stream, said, text } = await open(
      NON_INTERACTIVE,
      `sh -c 'echo one; until [ -e ${gate} ]; do sleep 0.01; done; date +%s%3N'`,
    );
    await said('one');
    writeFileSync(gate, '');
    await until(() => /\d{13}/.test(text()), { what: text });
    const came = Date.now();
    const left = Number(/\d{13}/.exec(text())![0]);
    expect(came - left).toBeGreaterThanOrEqual(98);
    expect(await stream.ended).toMatchObject({ exitCode: 0 });
  });

  it('survives some seconds without a network, and receives the output of that time', async () => {
    await begin();
    const { stream, said, text } = await open(
      NON_INTERACTIVE,
      `sh -c 'for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do echo line $n; sleep 0.2; done; exit 4'`,
    );
    await said('line 3');
    at.aws.faults.add({ service: 'session', frame: 'cut' });
    at.aws.faults.add({ service: 'session', action: 'connect', cut: 'before', times: 2 });
    at.aws.faults.add({ service: 'ssm', action: 'ResumeSession', cut: 'before', times: 8 });
    expect(await stream.ended).toMatchObject({ exitCode: 4, cuts: 1 });
    expect(text()).toBe(Array.from({ length: 20 }, (_, n) => `line ${n + 1}\n`).join(''));
    const resumed = at.aws.requests.filter(({ action, status }) => action === 'ResumeSession' && status === 200);
    expect(resumed.length).toBeGreaterThanOrEqual(3);
  });

  it('reports each cut, because an agent may not read output afterwards', async () => {
    await begin({ sessions: { pauseEndsOutput: true } });
    const { stream, said } = await open(NON_INTERACTIVE, `sh -c 'while :; do echo line; sleep 0.02; done'`);
    await said('line');
    at.aws.faults.add({ service: 'ssm', action: 'ResumeSession', delay: 300 });
    at.aws.faults.add({ service: 'session', action: 'output', frame: 'cut' });
    expect(await stream.ended).toMatchObject({ exitCode: -1, cuts: 1 });
  });

  it('waits longer and longer for a peer that opens each connection and closes it again', async () => {
    await begin({ faults: [{ service: 'session', action: 'output', frame: 'cut', times: 1e9 }] });
    const ssm = await aws.ssm();
    const resumed: number[] = [];
    const started = performance.now();
    let enough!: () => void;
    const done = new Promise<void>((resolve) => (enough = resolve));
    ssm.middlewareStack.add((next, { commandName }) => (args) => {
      if (commandName === 'ResumeSessionCommand' && resumed.push(performance.now() - started) === 5) enough();
      return next(args);
    });
    const opening = openStream(aws, box, {
      document: NON_INTERACTIVE,
      parameters: { command: ['true'], separateOutputStream: ['true'] },
      reason: 'test',
      onOutput: () => undefined,
      onError: () => undefined,
    });
    opening.catch(() => undefined);
    await done;
    // 100, 200, 400, 800 and 1,600 ms.
    expect(resumed[4]).toBeGreaterThan(3000);
    at.aws.faults.clear();
    await (await opening).close();
  });

  it('ends if the command ended while the client was not connected', async () => {
    await begin();
    const { stream, said } = await open(NON_INTERACTIVE, `sh -c 'echo there; sleep 30'`);
    await said('there');
    at.aws.faults.add({ service: 'ssm', action: 'ResumeSession', delay: 300 });
    at.aws.faults.add({ service: 'session', action: 'output', frame: 'cut' });
    at.aws.restartAgent(box);
    expect(await stream.ended).toMatchObject({ exitCode: null });
  });

  it('ends after a time without input; a keep-alive counts as input', async () => {
    await begin({ sessions: { idle: 3_000 } });
    const { stream, said } = await open(INTERACTIVE, 'echo begun; exec cat');
    await said('begun');
    const started = Date.now();
    for (let times = 0; times < 16; times++) {
      stream.resize(80 + times, 24);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    expect(Date.now() - started).toBeGreaterThan(3_500);
    stream.write(Buffer.from('still there\n'));
    await said('still there');
    const { exitCode, why } = await stream.ended;
    expect([exitCode, why]).toEqual([null, expect.stringContaining('nothing came from the client')]);
  });

  it('is refused with AWS’s message if it is denied, not connected, encrypted or unknown', async () => {
    await begin({ identities: [DENIED], sessions: { kmsKeyId: 'alias/sessions' } });
    expect(await problem(open(NON_INTERACTIVE, 'true'))).toMatch(/^SESSION_ENCRYPTED: .*KMS/);
    expect(await problem(open('AWS-Nothing', 'true'))).toMatch(/^SESSION_START: [^]*InvalidDocument/);
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [box] }));
    expect(await problem(open(NON_INTERACTIVE, 'true'))).toMatch(/^SESSION_UNAVAILABLE: [^]*TargetNotConnected/);
    process.env.AWS_ACCESS_KEY_ID = DENIED.accessKeyId;
    aws.close();
    aws = new Aws({});
    expect(await problem(open(NON_INTERACTIVE, 'true'))).toMatch(
      /^SESSION_DENIED: [^]*AccessDeniedException: User: [^]*ssm:StartSession/,
    );
  });

  it('ends with its instance, and takes its processes along', async () => {
    await begin();
    const { stream, said } = await open(NON_INTERACTIVE, `sh -c 'echo there; sleep 60'`);
    await said('there');
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [box] }));
    expect(await stream.ended).toMatchObject({ exitCode: null });
    expect(at.aws.instances.processes(box)).toEqual([]);
  });

  it.each(['close', 'abort'] as const)('is terminated by %s, with the processes in it', async (how) => {
    await begin();
    const controller = new AbortController();
    const { stream, said } = await open(INTERACTIVE, 'echo there; sleep 60', { signal: controller.signal });
    await said('there');
    if (how === 'close') {
      await stream.close();
      expect(await stream.ended).toMatchObject({ exitCode: null });
    } else {
      controller.abort(new Error('enough'));
      await expect(stream.ended).rejects.toThrow('enough');
    }
    await until(() => at.aws.instances.processes(box).length === 0, { what: 'no process left' });
    const listed = await at.ssm.send(new DescribeSessionsCommand({ State: 'History' }));
    expect(listed.Sessions).toMatchObject([{ Target: box, DocumentName: INTERACTIVE, Reason: 'test' }]);
  });

  it('has a terminal: echo, its size, Ctrl+C', async () => {
    await begin();
    const { stream, said, text } = await open(
      INTERACTIVE,
      'trap "echo caught" INT; echo begun; read line; echo "got $line"; stty size; sleep 60; echo after; read end',
    );
    await said('begun');
    stream.resize(123, 45);
    stream.write(Buffer.from('hello\r'));
    await said('got hello');
    expect(text()).toContain('begun\r\nhello\r\ngot hello\r\n');
    await said('45 123');
    stream.write(Buffer.from([3]));
    await said('caught');
    await said('after');
    stream.write(Buffer.from('\r'));
    expect(await stream.ended).toMatchObject({ exitCode: null });
  });

  it('exits with 1 after a Ctrl+C without a terminal, whatever a trap exits with', async () => {
    await begin();
    const { stream, said, text } = await open(
      NON_INTERACTIVE,
      `sh -c 'trap "echo caught; exit 3" INT; echo begun; while :; do sleep 0.05; done'`,
    );
    await said('begun');
    stream.write(Buffer.from([3]));
    expect(await stream.ended).toMatchObject({ exitCode: 1 });
    expect(text()).toContain('caught');
  });

  it("has the agent's message for a program that does not exist", async () => {
    await begin();
    const { stream, errors } = await open(NON_INTERACTIVE, 'nx-ec2-no-such-program --help');
    expect(await stream.ended).toMatchObject({ exitCode: 1 });
    expect(errors()).toBe(
      'Error occurred starting the command: exec: "nx-ec2-no-such-program": executable file not found in $PATH\n',
    );
  });

  it('has pipes and 1,024 open files, as a command', async () => {
    await begin();
    const { stream, text } = await open(NON_INTERACTIVE, `sh -c 'ulimit -S -n; [ -p /dev/stdout ] && echo pipe'`);
    await stream.ended;
    expect(text()).toBe('1024\npipe\n');
  });

  it('replaces a reference to a parameter, and never opens where there is no such parameter', async () => {
    await begin();
    await at.ssm.send(new PutParameterCommand({ Name: '/word', Value: 'value', Type: 'String' }));
    const { stream, text } = await open(NON_INTERACTIVE, 'echo {{ssm:/word}}');
    await stream.ended;
    expect(text()).toBe('value\n');
    const request = {
      document: NON_INTERACTIVE,
      reason: 'test',
      onOutput: () => undefined,
      onError: () => undefined,
      parameters: { command: ['echo {{ssm:/nothing}}'] },
    };
    await expect(openStream(aws, box, request, 300)).rejects.toMatchObject({ code: 'SESSION_UNAVAILABLE' });
  });

  const asRoot = process.getuid?.() === 0 ? it : it.skip;
  asRoot('runs as the user of sessions, with a home that is its own', async () => {
    await begin({ sessions: { user: 'nobody' } });
    const show = 'id -u; id -G; touch "$HOME/made" && echo made';
    const expected = execFileSync('sh', ['-c', 'id -u nobody; id -g nobody'], { encoding: 'utf8' });
    const { stream, text } = await open(NON_INTERACTIVE, `sh -c '${show}'`);
    await stream.ended;
    expect(text()).toBe(`${expected}made\n`);
    const terminal = await open(INTERACTIVE, `${show}; tty > /dev/tty && echo own > "$(tty)"`);
    await terminal.stream.ended;
    expect(terminal.text().replace(/\r/g, '')).toMatch(new RegExp(`^${expected}made\n/dev/.*\nown\n$`));
  });

  it('refuses a user that it cannot become', async () => {
    await begin();
    const directory = join(at.directory, 'other');
    await expect(startFixture({ directory, sessions: { user: 'nx-ec2-no-such-user' } })).rejects.toThrow(
      'This machine has no user nx-ec2-no-such-user.',
    );
  });

  it('receives large input in order and once, although frames are lost and duplicated', async () => {
    await begin({
      faults: [
        { service: 'session', action: 'input', frame: 'drop', after: 5, times: 10 },
        { service: 'session', action: 'input', frame: 'duplicate', after: 20, times: 10 },
        { service: 'session', action: 'input', frame: 'swap', after: 30, times: 10 },
        { service: 'session', action: 'output', frame: 'drop', after: 4, times: 20 },
        { service: 'session', action: 'input', frame: 'cut', bytes: 100_000 },
      ],
    });
    const file = join(at.directory, 'input');
    const { stream, said } = await open(
      INTERACTIVE,
      `stty raw -echo; echo begun; head -c 200000 > ${file}; sha256sum ${file}`,
    );
    await said('begun');
    const bytes = randomBytes(200_000);
    stream.write(bytes);
    await said(hash(bytes));
    await stream.ended;
  });

  it('is a shell if no command is given', async () => {
    await begin();
    const { stream, said } = await open('SSM-SessionManagerRunShell', '', { parameters: {} });
    stream.write(Buffer.from('echo "$((20 + 3)) in $HOME"; exit\r'));
    await said(`23 in ${at.aws.instances.disk(box)}/home`);
    expect(await stream.ended).toMatchObject({ exitCode: null });
  });
});
