import fc from 'fast-check';
import { SmuxCommand, smuxData, SmuxError, smuxFrame, SmuxReader } from './smux-frame';

/** What a reader makes of bytes that come in these pieces: each frame, with the data of one stream in a row joined. */
function readAll(pieces: Buffer[]): [command: number, stream: number, data: string][] {
  const reader = new SmuxReader();
  const read: [number, number, string][] = [];
  for (const { command, stream, data } of pieces.flatMap((piece) => [...reader.read(piece)])) {
    const last = read.at(-1);
    if (command === SmuxCommand.Data && last?.[0] === command && last[1] === stream) last[2] += data.toString('hex');
    else read.push([command, stream, data.toString('hex')]);
  }
  return read;
}

/** The same bytes, cut at these places. */
function cut(bytes: Buffer, places: number[]): Buffer[] {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)).sort((one, other) => one - other), bytes.length];
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end));
}

const stream = fc.integer({ min: 0, max: 0xffffffff });
const control = fc.record({ command: fc.constantFrom(0, 1, 3), stream, data: fc.constant(Buffer.alloc(0)) });
const data = fc.record({
  command: fc.constant(2),
  stream,
  data: fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
});
const frames = fc.array(fc.oneof(control, data), { maxLength: 20 });
const places = fc.array(fc.nat(10_000), { maxLength: 40 });

describe('frames of smux', () => {
  it('are read as they were written, however their bytes are cut', () => {
    fc.assert(
      fc.property(frames, places, (all, cuts) => {
        const bytes = Buffer.concat(
          all.flatMap(({ command, stream, data }) =>
            command === SmuxCommand.Data ? [...smuxData(stream, data)] : [smuxFrame(command as 0, stream)],
          ),
        );
        expect(readAll(cut(bytes, cuts))).toEqual(readAll([bytes]));
        const joined = all.reduce<[number, number, string][]>((joined, { command, stream, data }) => {
          const last = joined.at(-1);
          if (command === SmuxCommand.Data && last?.[0] === command && last[1] === stream)
            last[2] += data.toString('hex');
          else joined.push([command, stream, data.toString('hex')]);
          return joined;
        }, []);
        expect(readAll([bytes])).toEqual(joined);
      }),
    );
  });

  it('have the bytes of version 1: a version, a command, a length and a stream, low byte first', () => {
    expect([...smuxData(0x01020304, Buffer.from('abc'))].map((each) => each.toString('hex'))).toEqual([
      '0102030004030201616263',
    ]);
    expect(smuxFrame(SmuxCommand.Open, 3).toString('hex')).toBe('0100000003000000');
  });

  it('are no longer than their length can say', () => {
    const large = Buffer.alloc(1_000_000, 'x');
    expect(Buffer.concat([...smuxData(5, large)]).length).toBeGreaterThan(large.length);
    expect(readAll([...smuxData(5, large)])).toEqual([[SmuxCommand.Data, 5, large.toString('hex')]]);
  });

  it('of any other bytes are refused, or read without keeping more than a header', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 20 }), (pieces) => {
        const reader = new SmuxReader();
        let length = 0;
        try {
          for (const piece of pieces)
            for (const { data, command } of reader.read(Buffer.from(piece))) {
              length += data.length;
              expect(command).toBeLessThanOrEqual(3);
            }
        } catch (error) {
          expect(error).toBeInstanceOf(SmuxError);
        }
        expect(length).toBeLessThanOrEqual(pieces.reduce((sum, piece) => sum + piece.length, 0));
      }),
    );
  });

  it.each([
    ['0200000003000000', /version 2/],
    ['0104080003000000', /command 4/],
    ['0101010003000000', /command 1 has 1 bytes/],
    [Buffer.from('HTTP/1.1 400 Bad Request').toString('hex'), /version 72/],
  ])('%s is refused', (bytes, why) => {
    expect(() => readAll([Buffer.from(bytes, 'hex')])).toThrow(why);
  });
});
