import type { RunFacts } from '../../command/plan';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { frameOf } from '../../local-aws/session/frame';
import { LocalSession } from '../../local-aws/session/session';
import { until } from '../../system/until.fixture';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { LogStream } from './log-stream';

/** Whoever is root on an instance sends what they like over the stream of a log. */
describe('The stream of a log', () => {
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

  /** The pieces that a stream of such frames brings, and how it has ended; null: it goes on. */
  async function stream(frames: readonly string[]): Promise<{ pieces: [number, string][]; ended: string | null }> {
    let sent = 0;
    jest.spyOn(LocalSession.prototype, 'attach').mockImplementation((client) => {
      frames.forEach((text, sequence) => {
        const payload = Buffer.from(text);
        const flags = sequence === 0 ? 1 : 0;
        client.send(frameOf({ type: 'output_stream_data', sequence, flags, payloadType: 1, payload }));
        sent++;
      });
    });
    const pieces: [number, string][] = [];
    const { context } = pipeline;
    const run = { id: 'r', instance: context.instance, directory: '/d' } as RunFacts;
    pipeline.said.length = 0;
    const opened = LogStream.open(context, run, 0, (offset, data) => void pieces.push([offset, String(data)]))!;
    await until(() => (sent === frames.length && opened.alive) || opened.over);
    // A frame that is sent after the others has come when they have.
    await until(() => opened.over || pieces.length > 0);
    const ended = opened.over ? (pipeline.said.find((text) => /in the store instead/.test(text)) ?? 'ended') : null;
    opened.close();
    return { pieces, ended };
  }
  const line = (offset: number, text: string) => `${offset} ${Buffer.from(text).toString('base64')}\n`;

  it('brings lines, however they are cut', async () => {
    const text = line(0, 'a'.repeat(32 * 1024)) + line(32 * 1024, 'b');
    const { pieces, ended } = await stream([text.slice(0, 10), text.slice(10, 20_000), text.slice(20_000)]);
    expect(ended).toBeNull();
    expect(pieces).toEqual([
      [0, 'a'.repeat(32 * 1024)],
      [32 * 1024, 'b'],
    ]);
  });

  it.each([
    ['without an end', [...Array<string>(20).fill('A'.repeat(50_000)), line(0, 'a')]],
    ['that is whole', [`${'A'.repeat(70_000)}\n${line(0, 'a')}`]],
  ])('is given up at a line %s that is longer than a piece', async (_, frames) => {
    const { pieces, ended } = await stream(frames);
    expect(pieces).toEqual([]);
    expect(ended).toMatch(/in the store instead.*: i-\w+ sent a line of the log's stream that is too long/);
  });
});
