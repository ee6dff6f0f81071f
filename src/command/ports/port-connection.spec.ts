import { randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { PortConnection } from './port-connection';

const opened = () =>
  new PortConnection({
    write: (_data, onSent) => onSent(),
    onRead: () => undefined,
    end: () => undefined,
    destroyed: () => undefined,
  });

describe('A connection to a port', () => {
  it('keeps what is not read in few pieces, however small those were that came', async () => {
    const connection = opened();
    const sent = randomBytes(500_000);
    for (let at = 0; at < sent.length; at++) connection.receive(sent.subarray(at, at + 1));
    expect(connection.unread).toBe(sent.length);
    connection.receiveEnd();
    const pieces: Buffer[] = [];
    for await (const piece of connection) pieces.push(piece as Buffer);
    expect(Buffer.concat(pieces).equals(sent)).toBe(true);
    expect(pieces.length).toBeLessThan(20);
  });

  it('brings all bytes in their order, whenever they come and are read', async () => {
    const step = fc.oneof(
      fc.record({ receive: fc.integer({ min: 0, max: 100_000 }) }),
      fc.constant('read' as const),
      fc.constant('turn' as const),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const connection = opened();
        const sent: Buffer[] = [];
        const got: Buffer[] = [];
        for (const each of steps) {
          if (each === 'turn') await setImmediate();
          else if (each === 'read') got.push((connection.read() as Buffer | null) ?? Buffer.alloc(0));
          else {
            sent.push(randomBytes(each.receive));
            connection.receive(sent[sent.length - 1]);
          }
        }
        connection.receiveEnd();
        for await (const piece of connection) got.push(piece as Buffer);
        expect(Buffer.concat(got).equals(Buffer.concat(sent))).toBe(true);
      }),
      { numRuns: 50 },
    );
  });
});
