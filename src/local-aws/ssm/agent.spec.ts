import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CancelCommandCommand,
  GetConnectionStatusCommand,
  PutParameterCommand,
  StartSessionCommand,
} from '@aws-sdk/client-ssm';
import { refusal, startFixture, type Fixture } from '../local-aws.fixture';
import { commandsOf } from './commands.fixture';

type Commands = ReturnType<typeof commandsOf>;

describe('a process of the agent', () => {
  let at: Fixture;
  let commands: Commands;
  beforeAll(async () => {
    at = await startFixture();
    commands = commandsOf(at);
  });
  afterAll(() => at.close());

  const within = (workingDirectory: string, script = 'pwd') =>
    commands.run(script, { Parameters: { workingDirectory: [workingDirectory] } });

  it('runs in an absolute working directory, and ignores a relative one', async () => {
    expect(await within(at.directory)).toMatchObject({ Status: 'Success', StandardOutputContent: `${at.directory}\n` });
    expect(await within('nowhere')).toMatchObject({ Status: 'Success', StandardOutputContent: '/usr/bin\n' });
  });

  it.each([
    ['is not there', 'missing', 'no such file or directory'],
    ['is a file', 'file', 'not a directory'],
  ])('is not started if its working directory %s', async (_, name, why) => {
    writeFileSync(join(at.directory, 'file'), '');
    const mark = join(at.directory, `ran-${name}`);
    expect(await within(join(at.directory, name), `touch ${mark}`)).toMatchObject({
      Status: 'Failed',
      ResponseCode: 1,
      StandardOutputContent: '',
      StandardErrorContent: expect.stringMatching(`^failed to run commands: fork/exec /\\S+/sh: ${why}$`),
    });
    expect(existsSync(mark)).toBe(false);
    // Its slot is free again.
    for (let more = 0; more < 6; more++) await within(join(at.directory, name));
    expect(await commands.run('true')).toMatchObject({ Status: 'Success' });
  });

  it('fails if its script can not be written, and the server goes on', async () => {
    const other = await startFixture();
    const { run } = commandsOf(other);
    const ssm = join(other.aws.instances.disk(other.aws.named.get('box')!.id), 'ssm');
    writeFileSync(ssm, '');
    // More than run at once: each gives its slot back.
    for (let each = 0; each < 6; each++)
      expect(await run('true')).toMatchObject({
        Status: 'Failed',
        ResponseCode: 1,
        StandardErrorContent: expect.stringMatching(/^failed to run commands: failed to write the script: E/),
      });
    rmSync(ssm);
    expect(await run('true')).toMatchObject({ Status: 'Success' });
    await other.close();
  });

  it('may open 1,024 files, and more if it raises its soft limit', async () => {
    const { StandardOutputContent: out } = await commands.run(
      'ulimit -S -n; ulimit -H -n; ulimit -S -n "$(ulimit -H -n)"; ulimit -S -n',
    );
    const [soft, hard, raised] = out!.trim().split('\n');
    expect([soft, raised]).toEqual(['1024', hard]);
  });

  it('writes to pipes', async () => {
    const { StandardOutputContent: out } = await commands.run(
      '[ -p /dev/stdout ] && echo out; [ -p /dev/stderr ] && echo err',
    );
    expect(out).toBe('out\nerr\n');
  });

  it('runs in a state directory with a space in its name', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'nx-ec2 local '));
    const other = await startFixture({ directory });
    try {
      expect(await commandsOf(other).run('echo "$0"')).toMatchObject({
        StandardOutputContent: expect.stringContaining(`${directory}/`),
      });
    } finally {
      await other.close();
      rmSync(directory, { recursive: true, force: true });
    }
  });
});

describe('a reference to a parameter', () => {
  let at: Fixture;
  let commands: Commands;
  beforeAll(async () => {
    at = await startFixture();
    commands = commandsOf(at);
    const put = (Name: string, Value: string, Type: 'String' | 'SecureString' = 'String') =>
      at.ssm.send(new PutParameterCommand({ Name, Value, Type, Overwrite: true }));
    await put('/team/word', 'first $(echo not run)');
    await put('/team/word', 'second');
    await put('plain.name', '/usr');
    await put('/team/secret', 'hidden', 'SecureString');
  });
  afterAll(() => at.close());

  it.each([
    ['the latest version', '{{ssm:/team/word}}', 'second'],
    ['spaces', '{{  ssm:/team/word }}', 'second'],
    ['a version', '{{ssm:/team/word:1}}', 'first $(echo not run)'],
    [
      'versions side by side',
      '{{ssm:/team/word:2}} {{ssm:/team/word:1}} {{ssm:/team/word}}',
      'second first $(echo not run) second',
    ],
    ['a name without a slash', '{{ssm:plain.name}}', '/usr'],
    ['no reference', '{{ ssm }} {{ commands }} $$', '{{ ssm }} {{ commands }} $$'],
  ])('becomes its value: %s', async (_, reference, value) => {
    expect(await commands.run(`echo '${reference}'`)).toMatchObject({ StandardOutputContent: `${value}\n` });
  });

  it('is expanded by a shell if it is in a script, as on AWS', async () => {
    expect((await commands.run('echo {{ssm:/team/word:1}}')).StandardOutputContent).toBe('first not run\n');
  });

  it('is resolved in the other parameters of a command as well', async () => {
    expect(await commands.run('pwd', { Parameters: { workingDirectory: ['{{ssm:plain.name}}'] } })).toMatchObject({
      StandardOutputContent: '/usr\n',
    });
  });

  const NOTHING = { Status: 'Failed', ResponseCode: -1, StandardOutputContent: '', StandardErrorContent: '' };
  it.each([
    ['an unknown name', '{{ssm:/team/nothing}}'],
    ['an unknown version', '{{ssm:/team/word:3}}'],
    ['an unknown name beside a known one', '{{ssm:/team/word}} {{ssm:/team/nothing}}'],
    ['a SecureString', '{{ssm:/team/secret}}'],
    ['what instances may not read', '{{ssm:/nx-ec2-callers/key}}'],
  ])('fails the whole command without output: %s', async (_, reference) => {
    const mark = join(at.directory, 'ran');
    expect(await commands.run(`touch ${mark}; echo '${reference}'`)).toMatchObject(NOTHING);
    expect(existsSync(mark)).toBe(false);
  });

  it('is read with the role of the instance', async () => {
    const role = at.aws.role(commands.box);
    role.deny.push('ssm:GetParameters');
    expect(await commands.run('echo {{ssm:/team/word}}')).toMatchObject(NOTHING);
    expect(await commands.run('true')).toMatchObject({ Status: 'Success' });
    role.deny.pop();
  });
});

describe('an agent with five commands that run and five that wait', () => {
  let at: Fixture;
  let commands: Commands;
  let free: () => void;
  let ids: string[];
  beforeEach(async () => {
    at = await startFixture();
    commands = commandsOf(at);
    const file = join(at.directory, 'free');
    const wait = `while [ ! -e '${file}' ]; do sleep 0.05; done; echo ran`;
    free = () => writeFileSync(file, '');
    ids = [];
    for (let sent = 0; sent < 10; sent++) ids.push(await commands.send(wait));
    while ((await commands.statuses(ids)).includes('Pending')) await sleep(20);
  });
  afterEach(() => at.close());

  const started = () => at.aws.commands.filter((each) => each.started !== undefined).length;
  const dueNow = (id: string) => (at.aws.commands.find(({ commandId }) => commandId === id)!.deliveryTimeout = 0);

  it('reports all ten as in progress', async () => {
    expect(await commands.statuses(ids)).toEqual(Array(10).fill('InProgress'));
    expect(started()).toBe(5);
  });

  it('refuses the eleventh over the message gateway, which stays pending until its delivery times out', async () => {
    const eleventh = await commands.send('echo eleventh');
    free();
    for (const id of ids) expect(await commands.ended(id)).toMatchObject({ Status: 'Success' });
    expect(await commands.look(eleventh)).toMatchObject({ Status: 'Pending', ResponseCode: -1 });
    dueNow(eleventh);
    expect(await commands.ended(eleventh)).toMatchObject({
      Status: 'TimedOut',
      StatusDetails: 'Delivery Timed Out',
      ResponseCode: -1,
      StandardErrorContent: '',
    });
    expect(started()).toBe(10);
    expect(at.aws.commands.filter(({ refused }) => refused)).toHaveLength(1);
  });

  it('queues the eleventh and later ones over ec2messages until a slot is free', async () => {
    at.aws.useAgentChannel('ec2messages', commands.box);
    const more = [await commands.send('echo 11'), await commands.send('echo 12'), await commands.send('echo 13')];
    await sleep(50);
    expect(await commands.statuses(more)).toEqual(['Pending', 'Pending', 'Pending']);
    free();
    const outputs = await Promise.all(more.map(async (id) => (await commands.ended(id)).StandardOutputContent));
    expect(outputs).toEqual(['11\n', '12\n', '13\n']);
  });

  it('runs a queued command of ec2messages even after its delivery timed out', async () => {
    at.aws.useAgentChannel('ec2messages');
    const mark = join(at.directory, 'ran');
    const eleventh = await commands.send(`touch ${mark}`);
    await sleep(20);
    dueNow(eleventh);
    expect(await commands.ended(eleventh)).toMatchObject({ StatusDetails: 'Delivery Timed Out', ResponseCode: -1 });
    free();
    while (!existsSync(mark)) await sleep(20);
    expect(await commands.look(eleventh)).toMatchObject({ StatusDetails: 'Delivery Timed Out', ResponseCode: -1 });
  });

  it('never runs a command that was cancelled while it waited, and never replies', async () => {
    await at.ssm.send(new CancelCommandCommand({ CommandId: ids[9] }));
    free();
    for (const id of ids.slice(0, 9)) await commands.ended(id);
    expect(await commands.look(ids[9])).toMatchObject({ Status: 'InProgress', ExecutionStartDateTime: '' });
    expect(started()).toBe(9);
  });
});

describe('the channel of an agent', () => {
  it('limits a reply to 120,000 bytes of JSON, unless it is ec2messages', async () => {
    const at = await startFixture({ agentChannel: 'ec2messages' });
    const { run } = commandsOf(at);
    expect(await run("head -c 24000 /dev/zero | tr '\\0' '\\033'")).toMatchObject({ Status: 'Success' });
    await at.close();
  });

  it('is the message gateway, without which there are no sessions', async () => {
    const at = await startFixture();
    const { box } = commandsOf(at);
    const session = () => refusal(at.ssm.send(new StartSessionCommand({ Target: box })));
    const connection = async () => (await at.ssm.send(new GetConnectionStatusCommand({ Target: box }))).Status;
    expect([await session(), await connection()]).toEqual([null, 'connected']);
    at.aws.useAgentChannel('ec2messages', box);
    expect([await session(), await connection()]).toEqual(['TargetNotConnected 400', 'notconnected']);
    expect(await commandsOf(at).run('true')).toMatchObject({ Status: 'Success' });
    at.aws.useAgentChannel('gateway');
    expect(await connection()).toBe('connected');
    await at.close();
  });
});
