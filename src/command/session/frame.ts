import { createHash, randomUUID } from 'node:crypto';

/** What a payload is. Facts: amazon-ssm-agent's source. */
export const PayloadType = {
  Output: 1,
  Size: 3,
  HandshakeRequest: 5,
  HandshakeResponse: 6,
  HandshakeComplete: 7,
  EncryptionChallenge: 8,
  Flag: 10,
  Error: 11,
  ExitCode: 12,
} as const;

/** One binary message of Session Manager's data channel. */
export interface Frame {
  /** At most 32 bytes of ASCII, e.g. `output_stream_data`. */
  type: string;
  /** ms since the epoch. */
  created: number;
  sequence: number;
  flags: number;
  /** A UUID, lower case with hyphens. */
  id: string;
  payloadType: number;
  payload: Buffer;
}

/** A message that is no frame, or whose payload is not what its digest says. */
export class FrameError extends Error {}

/** What the header's own length field says; the payload's length follows the header. */
const HEADER_LENGTH = 116;
const PAYLOAD = HEADER_LENGTH + 4;
const VERSION = 1;
const AT = { type: 4, version: 36, created: 40, sequence: 48, flags: 56, id: 64, digest: 80, payloadType: 112 };

/** A frame of now, with an id of its own, where nothing else is said. */
export function newFrame(type: string, payloadType: number, payload: Buffer, more: Partial<Frame> = {}): Frame {
  return { type, created: Date.now(), sequence: 0, flags: 0, id: randomUUID(), payloadType, payload, ...more };
}

export function encodeFrame(frame: Frame): Buffer {
  const data = Buffer.alloc(PAYLOAD + frame.payload.length);
  data.writeUInt32BE(HEADER_LENGTH, 0);
  data.fill(' ', AT.type, AT.version);
  data.write(frame.type, AT.type, AT.version - AT.type, 'latin1');
  data.writeUInt32BE(VERSION, AT.version);
  data.writeBigUInt64BE(BigInt(frame.created), AT.created);
  data.writeBigInt64BE(BigInt(frame.sequence), AT.sequence);
  data.writeBigUInt64BE(BigInt(frame.flags), AT.flags);
  // A UUID travels with its low half first.
  const id = Buffer.from(frame.id.replaceAll('-', ''), 'hex');
  id.copy(data, AT.id, 8, 16);
  id.copy(data, AT.id + 8, 0, 8);
  digest(frame.payload).copy(data, AT.digest);
  data.writeUInt32BE(frame.payloadType, AT.payloadType);
  data.writeUInt32BE(frame.payload.length, HEADER_LENGTH);
  frame.payload.copy(data, PAYLOAD);
  return data;
}

/** @throws FrameError */
export function decodeFrame(data: Buffer): Frame {
  if (data.length < PAYLOAD) throw new FrameError(`it has ${data.length} bytes, less than a header`);
  if (data.readUInt32BE(0) !== HEADER_LENGTH) throw new FrameError(`its header has ${data.readUInt32BE(0)} bytes`);
  const payload = data.subarray(PAYLOAD);
  const length = data.readUInt32BE(HEADER_LENGTH);
  if (length !== payload.length) throw new FrameError(`it says ${length} bytes and has ${payload.length}`);
  if (length && !digest(payload).equals(data.subarray(AT.digest, AT.payloadType)))
    throw new FrameError('its digest is not that of its payload');
  const id = Buffer.concat([data.subarray(AT.id + 8, AT.digest), data.subarray(AT.id, AT.id + 8)]).toString('hex');
  return {
    type: data.toString('latin1', AT.type, AT.version).replace(/[\0 ]+$/, ''),
    created: small(data.readBigUInt64BE(AT.created)),
    sequence: small(data.readBigInt64BE(AT.sequence)),
    flags: small(data.readBigUInt64BE(AT.flags)),
    id: [id.slice(0, 8), id.slice(8, 12), id.slice(12, 16), id.slice(16, 20), id.slice(20)].join('-'),
    payloadType: data.readUInt32BE(AT.payloadType),
    payload,
  };
}

function digest(payload: Buffer): Buffer {
  return createHash('sha256').update(payload).digest();
}

function small(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new FrameError(`it holds the number ${value}`);
  return number;
}
