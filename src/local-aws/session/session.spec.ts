import { randomUUID } from 'node:crypto';
import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import {
  DescribeSessionsCommand,
  ResumeSessionCommand,
  StartSessionCommand,
  TerminateSessionCommand,
} from '@aws-sdk/client-ssm';
import { WebSocket } from 'ws';
import { refusal, startFixture, type Fixture } from '../local-aws.fixture';
import { frameOf, readFrame, type Frame } from './frame';
import { shellWords } from './shell-words';
import { TextPieces } from './text-pieces';
import { until } from '../../system/until.fixture';

const DocumentName = 'AWS-StartNonInteractiveCommand';

/** A client that does nothing by itself. */
class Client {
  readonly frames: Frame[] = [];
  closed?: number;
  private constructor(private readonly socket: WebSocket) {}

  static async open(url: string, token: string, version = '1.2.312.0'): Promise<Client> {
    const socket = new WebSocket(url);
    const client = new Client(socket);
    socket.on('message', (data: Buffer, binary: boolean) => {
      if (binary) client.frames.push(readFrame(data)!);
    });
    socket.on('close', (code) => (client.closed = code));
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
    socket.send(
      JSON.stringify({
        MessageSchemaVersion: '1.0',
        RequestId: randomUUID(),
        TokenValue: token,
        ClientId: randomUUID(),
        ClientVersion: version,
      }),
    );
    return client;
  }

  waitFor<T extends object | number | string | boolean>(look: () => T | undefined | false): Promise<T> {
    return until(look, { what: () => `${look} in ${this.frames.length} frames` }) as Promise<T>;
  }
  frame(payloadType: number): Promise<Frame> {
    return this.waitFor(() => this.frames.find((each) => each.payloadType === payloadType));
  }
  send(frame: Buffer): void {
    this.socket.send(frame);
  }
  acknowledge({ type, id, sequence }: Frame): void {
    const content = {
      AcknowledgedMessageType: type,
      AcknowledgedMessageId: id,
      AcknowledgedMessageSequenceNumber: sequence,
      IsSequentialMessage: true,
    };
    this.send(frameOf({ type: 'acknowledge', flags: 3, payload: Buffer.from(JSON.stringify(content)) }));
  }
  input(sequence: number, payloadType: number, payload: string | Buffer): void {
    this.send(frameOf({ type: 'input_stream_data', sequence, payloadType, payload: Buffer.from(payload) }));
  }
  /** Answers the handshake and has what runs begin. */
  async shake(): Promise<void> {
    this.acknowledge(await this.frame(5));
    const actions = [{ ActionType: 'SessionType', ActionStatus: 1 }];
    this.input(0, 6, JSON.stringify({ ClientVersion: '1.2.312.0', ProcessedClientActions: actions }));
    this.acknowledge(await this.frame(7));
  }
  cut(): void {
    this.socket.terminate();
  }
}

describe('Session Manager', () => {
  let at: Fixture;
  let box: string;
  beforeAll(async () => {
    at = await startFixture();
    box = at.aws.named.get('box')!.id;
  });
  afterAll(() => at.close());

  const start = (command: string) =>
    at.ssm.send(
      new StartSessionCommand({
        Target: box,
        DocumentName,
        Parameters: { command: [command], separateOutputStream: ['true'] },
      }),
    );

  it('asks for a handshake, sends output until it is acknowledged, and closes the channel at the end', async () => {
    const { StreamUrl, TokenValue } = await start(`sh -c 'echo out; exit 3'`);
    const client = await Client.open(StreamUrl!, TokenValue!);
    const request = await client.frame(5);
    expect(request).toMatchObject({ type: 'output_stream_data', sequence: 0 });
    expect(JSON.parse(request.payload.toString()).RequestedClientActions).toMatchObject([
      { ActionType: 'SessionType', ActionParameters: { SessionType: 'NonInteractiveCommands' } },
    ]);
    await client.shake();
    // The answer to the handshake was acknowledged by its sequence number and its id.
    const acknowledged = await client.waitFor(() => client.frames.find(({ type }) => type === 'acknowledge'));
    expect(JSON.parse(acknowledged.payload.toString())).toMatchObject({
      AcknowledgedMessageType: 'input_stream_data',
      AcknowledgedMessageSequenceNumber: 0,
      IsSequentialMessage: true,
    });
    const outputs = () =>
      client.frames.filter(({ payloadType, type }) => type === 'output_stream_data' && payloadType === 1);
    await client.waitFor(() => outputs().length >= 3);
    expect(new Set(outputs().map(({ sequence, payload }) => `${sequence} ${payload.toString()}`))).toEqual(
      new Set(['2 out\n']),
    );
    client.acknowledge(outputs()[0]);
    const code = await client.frame(12);
    expect(code.payload.toString()).toBe('EXIT_CODE: 3');
    expect(client.frames.some(({ type }) => type === 'channel_closed')).toBe(false);
    client.acknowledge(code);
    await client.waitFor(() => client.frames.find(({ type }) => type === 'channel_closed'));
    await client.waitFor(() => client.closed !== undefined);
  });

  it('sends unacknowledged output again to a client that resumes, by a token that opens one stream', async () => {
    const { SessionId, StreamUrl, TokenValue } = await start('echo out');
    const first = await Client.open(StreamUrl!, TokenValue!);
    await first.shake();
    await first.frame(1);
    first.cut();
    const again = await Client.open(StreamUrl!, TokenValue!);
    await again.waitFor(() => again.closed === 1008);
    const resumed = await at.ssm.send(new ResumeSessionCommand({ SessionId }));
    const second = await Client.open(resumed.StreamUrl!, resumed.TokenValue!);
    expect((await second.frame(1)).payload.toString()).toBe('out\n');
    second.acknowledge(await second.frame(1));
    second.acknowledge(await second.frame(12));
    await second.waitFor(() => second.closed);
    expect(await refusal(at.ssm.send(new ResumeSessionCommand({ SessionId })))).toBe('DoesNotExistException 400');
  });

  it('acknowledges each copy of a message', async () => {
    const { StreamUrl, TokenValue } = await start('sleep 60');
    const client = await Client.open(StreamUrl!, TokenValue!);
    await client.shake();
    const count = (sequence: number) => {
      const said = client.frames
        .filter(({ type }) => type === 'acknowledge')
        .map(({ payload }) => JSON.parse(payload.toString()) as { AcknowledgedMessageSequenceNumber: number });
      return said.filter((each) => each.AcknowledgedMessageSequenceNumber === sequence).length;
    };
    const size = JSON.stringify({ cols: 80, rows: 24 });
    client.input(1, 3, size);
    await client.waitFor(() => count(1) === 1);
    client.input(1, 3, size);
    client.input(1, 3, size);
    await client.waitFor(() => count(1) === 3);
    client.input(2, 3, size);
    await client.waitFor(() => count(2) === 1);
    client.input(3, 10, Buffer.from([0, 0, 0, 2]));
    await client.waitFor(() => client.closed);
  });

  it('sends nothing while the client has paused it', async () => {
    const { StreamUrl, TokenValue } = await start(`sh -c 'sleep 0.3; echo out'`);
    const client = await Client.open(StreamUrl!, TokenValue!);
    await client.shake();
    client.send(frameOf({ type: 'pause_publication', flags: 3, payload: Buffer.alloc(0) }));
    await new Promise((resolve) => setTimeout(resolve, 900));
    expect(client.frames.some(({ payloadType }) => payloadType === 1)).toBe(false);
    client.send(frameOf({ type: 'start_publication', flags: 3, payload: Buffer.alloc(0) }));
    client.acknowledge(await client.frame(1));
    client.acknowledge(await client.frame(12));
    await client.waitFor(() => client.closed);
  });

  it('tells a client that is too old for separate streams to upgrade', async () => {
    const { StreamUrl, TokenValue } = await start('echo out');
    const client = await Client.open(StreamUrl!, TokenValue!, '1.2.311.0');
    const told = await client.frame(1);
    expect(told.payload.toString()).toContain('upgrade');
    client.acknowledge(told);
    await client.waitFor(() => client.closed);
  });

  it('ends on the terminate flag, on TerminateSession, and on a restart of the agent', async () => {
    const sessions = { flag: await start('sleep 60'), call: await start('sleep 60'), agent: await start('sleep 60') };
    const clients: Client[] = [];
    for (const { StreamUrl, TokenValue } of Object.values(sessions)) {
      clients.push(await Client.open(StreamUrl!, TokenValue!));
      await clients.at(-1)!.shake();
    }
    const [flag, call, agent] = clients;
    const active = async () => {
      const filters = [{ key: 'Target' as const, value: box }];
      const { Sessions } = await at.ssm.send(new DescribeSessionsCommand({ State: 'Active', Filters: filters }));
      return Sessions!.length;
    };
    expect(await active()).toBe(3);
    flag.input(1, 10, Buffer.from([0, 0, 0, 2]));
    await flag.waitFor(() => flag.closed);
    await at.ssm.send(new TerminateSessionCommand({ SessionId: sessions.call.SessionId }));
    await call.waitFor(() => call.closed);
    at.aws.restartAgent(box);
    await agent.waitFor(() => agent.closed);
    expect(await active()).toBe(0);
    await agent.waitFor(() => at.aws.instances.processes(box).length === 0);
  });

  it('refuses what the service refuses', async () => {
    const of = (Target: string, name: string, Parameters = {}) =>
      refusal(at.ssm.send(new StartSessionCommand({ Target, DocumentName: name, Parameters })));
    expect(await of(box, 'AWS-RunShellScript')).toBe('InvalidDocument 400');
    expect(await of('i-0123456789abcdef0', DocumentName, { command: ['true'] })).toBe('TargetNotConnected 400');
    expect(await of(box, DocumentName)).toBe('InvalidParameters 400');
    const stranger = new WebSocket(`${at.aws.url.replace('http', 'ws')}/v1/data-channel/x?role=publish_subscribe`);
    await expect(new Promise((_, reject) => stranger.once('error', reject))).rejects.toThrow('404');
  });
});

it.each([
  ['ssm', 'TerminateInstances', null],
  ['ec2', 'TerminateInstances', 'UnauthorizedOperation 403'],
])('an identity is denied what its `deny` names of a service, %s:%s', async (service, action, expected) => {
  const denied = {
    accessKeyId: 'AKIADENIEDDENIED0001',
    secretAccessKey: 'denied',
    arn: 'arn:aws:iam::000000000000:user/denied',
    deny: [`${service}:${action}`],
  };
  const at = await startFixture({ identities: [denied] });
  at.ec2.config.credentials = () =>
    Promise.resolve({ ...at.clientOptions.credentials, accessKeyId: denied.accessKeyId });
  const InstanceIds = [at.aws.named.get('box')!.id];
  expect(await refusal(at.ec2.send(new TerminateInstancesCommand({ InstanceIds })))).toBe(expected);
  await at.close();
});

it.each([
  [`a "b c" 'd "e"' f\\ g`, ['a', 'b c', 'd "e"', 'f g']],
  [`"a \\" b" 'c \\' # the rest`, ['a " b', 'c \\']],
  [`a#b "" ''`, ['a#b', '', '']],
])('the agent splits %s', (line, words) => expect(shellWords(line)).toEqual(words));

describe('output', () => {
  const sent = (...pieces: Buffer[]) => {
    const text = new TextPieces();
    return pieces.flatMap((piece) => [...text.take(piece)].map(String));
  };

  it('is never cut inside a character', () => {
    const [before, after] = [Buffer.from('a\u20ac').subarray(0, 2), Buffer.from('a\u20ac').subarray(2)];
    expect(sent(before, after)).toEqual(['a', '\u20ac']);
  });

  it('keeps bytes that are no text, except at the very end', () => {
    const text = new TextPieces();
    const bytes = Buffer.from([255, 254, 65, 66, 67, 68, 200]);
    expect(Buffer.concat([...text.take(bytes)])).toEqual(bytes.subarray(0, 6));
  });
});
