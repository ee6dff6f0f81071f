import fc from 'fast-check';
import { frameOf, readFrame } from '../../local-aws/session/frame';
import { decodeFrame, encodeFrame, FrameError, type Frame } from './frame';

const frames = fc.record<Frame>({
  type: fc.stringMatching(/^[a-z_]{1,32}$/),
  created: fc.nat(Number.MAX_SAFE_INTEGER),
  sequence: fc.maxSafeInteger(),
  flags: fc.nat(3),
  id: fc.uuid(),
  payloadType: fc.nat(0xffffffff),
  payload: fc.uint8Array({ maxLength: 2048 }).map((bytes) => Buffer.from(bytes)),
});

describe('a frame', () => {
  it('is read as it was written', () => {
    fc.assert(fc.property(frames, (frame) => expect(decodeFrame(encodeFrame(frame))).toEqual(frame)));
  });

  it('is what local AWS writes and reads', () => {
    fc.assert(
      fc.property(frames, ({ type, sequence, flags, id, payloadType, payload }) => {
        expect(decodeFrame(frameOf({ type, sequence, flags, payloadType, payload, id }))).toMatchObject({
          type,
          sequence,
          flags,
          id,
          payloadType,
          payload,
        });
        expect(readFrame(encodeFrame({ type, created: 1, sequence, flags, id, payloadType, payload }))).toMatchObject({
          type,
          sequence,
          id,
          payloadType,
          payload,
        });
      }),
    );
  });

  it("has its fields at the agent's offsets, with the low half of its id first", () => {
    const id = '01234567-89ab-cdef-fedc-ba9876543210';
    const data = encodeFrame({
      type: 'acknowledge',
      created: 0x0102030405,
      sequence: -2,
      flags: 3,
      id,
      payloadType: 11,
      payload: Buffer.from('abc'),
    });
    expect(data.subarray(0, 4).toString('hex')).toBe('00000074');
    expect(data.toString('latin1', 4, 36)).toBe('acknowledge'.padEnd(32));
    expect(data.subarray(36, 64).toString('hex')).toBe(
      `00000001${'0000000102030405'}${'fffffffffffffffe'}${'0000000000000003'}`,
    );
    expect(data.subarray(64, 80).toString('hex')).toBe('fedcba98765432100123456789abcdef');
    expect(data.subarray(80, 112).toString('hex')).toBe(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    );
    expect(data.subarray(112).toString('hex')).toBe('0000000b00000003616263');
  });

  it('has a type that may end at a NUL', () => {
    const data = encodeFrame({
      type: 'output',
      created: 1,
      sequence: 0,
      flags: 0,
      id: '00000000-0000-0000-0000-000000000000',
      payloadType: 1,
      payload: Buffer.alloc(0),
    });
    data.fill(0, 10, 36);
    expect(decodeFrame(data).type).toBe('output');
  });

  it('is refused with one kind of error if it is cut, changed or no frame', () => {
    const refused = (data: Buffer) => {
      expect(() => decodeFrame(data)).toThrow(FrameError);
      expect(readFrame(data)).toBeNull();
    };
    fc.assert(
      fc.property(frames, fc.nat(), (frame, at) => {
        const whole = encodeFrame(frame);
        refused(whole.subarray(0, at % whole.length));
        refused(Buffer.concat([whole, Buffer.from('x')]));
        if (!frame.payload.length) return;
        const changed = Buffer.from(whole);
        changed[120 + (at % frame.payload.length)] ^= 1;
        refused(changed);
      }),
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => refused(Buffer.from(bytes))));
  });
});
