import { PassThrough } from 'node:stream';
import { shellCommand } from '../command/session/shell-command';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { frameOf } from '../local-aws/session/frame';
import { LocalSession } from '../local-aws/session/session';
import { Pipeline, startPipeline } from './pipeline.fixture';
import { openShell, type Terminal } from './shell/shell';

const MB = 1024 * 1024;

/** Whoever is root on an instance sends frames of their own over the stream of a shell. */
describe('a shell on an instance that sends forged messages', () => {
  let at: Fixture;
  let pipeline: Pipeline;
  beforeAll(async () => {
    at = await startPipeline();
    pipeline = await new Pipeline(at, 'auto').open({ script: 'train.py' });
  });
  afterAll(async () => {
    pipeline.close();
    await at.close();
  });
  afterEach(() => jest.restoreAllMocks());

  /** Payload types and payloads; `closed`: the message that ends the session. */
  type Sent = [type: number | 'closed', payload: string | Buffer];
  const OUTPUT = 1;
  const HANDSHAKE = 5;
  const CLOSED: Sent = ['closed', '{}'];

  /** What comes of a shell: its exit code, or its error in one line. */
  async function shell(send: (nonce: string) => Sent[]) {
    const place = { root: null, run: null, tree: 't', project: 'p', projectRoot: 'model', user: null };
    const command = shellCommand(place);
    jest.spyOn(LocalSession.prototype, 'attach').mockImplementation((client) => {
      send(command.nonce).forEach(([type, payload], at) => {
        const [name, kind] = type === 'closed' ? ['channel_closed', 0] : ['output_stream_data', type];
        client.send(
          frameOf({
            type: name,
            sequence: at,
            flags: at === 0 ? 1 : 0,
            payloadType: kind,
            payload: Buffer.from(payload as string),
          }),
        );
      });
    });
    const raw: boolean[] = [];
    const stdin = Object.assign(new PassThrough(), {
      isTTY: true,
      isRaw: false,
      setRawMode: (on: boolean) => void raw.push(on),
    });
    const on = { stdin, stdout: new PassThrough().resume() } as unknown as Terminal;
    const result = await openShell(pipeline.context, command, new AbortController().signal, on).catch(
      (error: { code: string; message: string }) => `${error.code}: ${error.message.split('\n')[0]}`,
    );
    // The terminal is as it was.
    expect(raw).toEqual(raw.length ? [true, false] : []);
    return result;
  }
  const word = (nonce: string, end: string): Sent => [
    OUTPUT,
    `hello \u001b_nx-ec2 ${nonce} ${Buffer.from(end).toString('base64')}\u001b\\`,
  ];

  it('ends with the shell even if the session stays open', async () => {
    expect(await shell((nonce) => [word(nonce, '{"exit":3}')])).toBe(3);
  });

  it.each([
    'null',
    '{"ex',
    '{"exit":"abc"}',
    '{"exit":-1}',
    '{"error":null}',
    '{"error":{"code":"constructor","message":"x"}}',
    '{"error":{"code":{"a":1},"message":["x"]}}',
  ])('reports that %s is no valid end of the shell', async (end) => {
    const said = await shell((nonce) => [word(nonce, end), CLOSED]);
    expect(said).toMatch(/^SESSION_PROTOCOL: i-\w+: the shell's exit message is not valid\.$/);
  });

  it('does not buffer an endless end of the shell', async () => {
    const piece = Buffer.alloc(64 * 1024, 'a');
    const said = await shell((nonce) => [[OUTPUT, `\u001b_nx-ec2 ${nonce} `], [OUTPUT, piece], [OUTPUT, 'a'], CLOSED]);
    expect(said).toMatch(/^SESSION_PROTOCOL: i-\w+: the shell's exit message is not valid\.$/);
  });

  it.each([
    'null',
    '{"RequestedClientActions":"abc"}',
    '{"RequestedClientActions":{"length":1}}',
    '{"RequestedClientActions":[null]}',
    '{"RequestedClientActions":[{"ActionType":{"a":1}}]}',
    JSON.stringify({ RequestedClientActions: Array(1000).fill({ ActionType: 'x' }) }),
  ])('reports that %.50s is no handshake', async (request) => {
    expect(await shell(() => [[HANDSHAKE, request]])).toMatch(/^SESSION_PROTOCOL: i-\w+ sent an invalid handshake/);
  });

  it('ends at a second handshake: their answers would wait for acknowledgements without end', async () => {
    const request = '{"AgentVersion":"3.3.0.0","RequestedClientActions":[]}';
    const said = await shell(() => [
      [HANDSHAKE, request],
      [OUTPUT, 'x'],
      [HANDSHAKE, request],
      [OUTPUT, 'x'],
    ]);
    expect(said).toMatch(/^SESSION_PROTOCOL: i-\w+ sent a second handshake\.$/);
  });

  it('gives the reason of the close as a text that is safe to print', async () => {
    const closed = (Output: unknown): Sent[] => [
      [OUTPUT, 'x'],
      ['closed', JSON.stringify({ Output })],
    ];
    expect(await shell(() => closed({ toString: 1 }))).toMatch(/^SHELL_ENDED: .* the session ended\.$/);
    const said = await shell(() => closed('evil \u001b]0;title\u0007'.repeat(10_000)));
    expect(said).toMatch(/^SHELL_ENDED: .*: evil evil/);
    expect(String(said).length).toBeLessThan(10_000);
  });

  it('is given up if a message is larger than an agent sends', async () => {
    expect(await shell(() => [[OUTPUT, Buffer.alloc(2 * MB)]])).toMatch(/^SESSION_PROTOCOL: .* Max payload size/);
  });
});
