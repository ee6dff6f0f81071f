import { Channel } from './channel';
import { decodeFrame, encodeFrame, newFrame } from './frame';

describe('the channel of a session', () => {
  it('buffers a limited number of bytes that arrive out of order, and reads the rest when they are sent again', () => {
    const got: number[] = [];
    const channel = new Channel({
      onPayload: (_, payload) => void got.push(payload[0]),
      onClosed: () => undefined,
      onGarbage: (error) => {
        throw error;
      },
    });
    let acknowledged = 0;
    channel.attach((data) => (acknowledged += Number(decodeFrame(data).type === 'acknowledge')));
    const frame = (sequence: number) =>
      encodeFrame(newFrame('output_stream_data', 1, Buffer.alloc(512 * 1024, sequence), { sequence }));
    const all = [...Array(100).keys()];
    for (const sequence of all.slice(1)) channel.receive(frame(sequence));
    expect([got, acknowledged]).toEqual([[], 32]);
    // The same again takes no more room, and what lacked is taken once.
    for (const sequence of all) channel.receive(frame(sequence));
    for (const sequence of all) channel.receive(frame(sequence));
    expect(got).toEqual(all);
    channel.close();
  });

  it('keeps nothing of what was read at once but the payload of a frame that waits', () => {
    const got: Buffer[] = [];
    const channel = new Channel({
      onPayload: (_, payload) => void got.push(payload),
      onClosed: () => undefined,
      onGarbage: () => undefined,
    });
    const frame = (sequence: number) =>
      encodeFrame(newFrame('output_stream_data', 1, Buffer.of(sequence), { sequence }));
    const read = Buffer.concat([frame(1), Buffer.alloc(64 * 1024)]);
    channel.receive(read.subarray(0, frame(1).length));
    channel.receive(frame(0));
    expect(got.map(([byte]) => byte)).toEqual([0, 1]);
    expect(got[1].buffer).not.toBe(read.buffer);
    channel.close();
  });
});
