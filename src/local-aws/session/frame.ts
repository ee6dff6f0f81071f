import { createHash, randomUUID } from 'node:crypto';

/** Kinds of payload. Source: amazon-ssm-agent's own source, as for all of this directory. */
export const PAYLOAD = {
  output: 1,
  size: 3,
  handshakeRequest: 5,
  handshakeResponse: 6,
  handshakeComplete: 7,
  flag: 10,
  stderr: 11,
  exitCode: 12,
} as const;

/** The flags of a client that closes the one connection of a port session, and of one that ends a session. */
export const DISCONNECT = 1;
export const TERMINATE = 2;
/** The flag of an agent that could not connect to a port. */
export const CONNECT_ERROR = 3;

/** One binary message of a data channel. */
export interface Frame {
  type: string;
  sequence: number;
  id: string;
  payloadType: number;
  payload: Buffer;
}

const HEADER_BYTES = 116;
const PAYLOAD_AT = HEADER_BYTES + 4;

/** What is sent as a frame. Whatever is absent is 0, and the id a new one. */
export interface NewFrame
  extends Pick<Frame, 'type' | 'payload'>, Partial<Pick<Frame, 'sequence' | 'id' | 'payloadType'>> {
  /** 1: the first of a stream; 3: not of a stream. */
  flags?: number;
}

export function frameOf({
  type,
  sequence = 0,
  flags = 0,
  payloadType = 0,
  payload,
  id = randomUUID(),
}: NewFrame): Buffer {
  const frame = Buffer.alloc(PAYLOAD_AT + payload.length);
  frame.writeUInt32BE(HEADER_BYTES, 0);
  frame.write(type.padEnd(32), 4, 'latin1');
  frame.writeUInt32BE(1, 36);
  frame.writeBigUInt64BE(BigInt(Date.now()), 40);
  frame.writeBigInt64BE(BigInt(sequence), 48);
  frame.writeBigUInt64BE(BigInt(flags), 56);
  const uuid = Buffer.from(id.replace(/-/g, ''), 'hex');
  uuid.copy(frame, 64, 8);
  uuid.copy(frame, 72, 0, 8);
  createHash('sha256').update(payload).digest().copy(frame, 80);
  frame.writeUInt32BE(payloadType, 112);
  frame.writeUInt32BE(payload.length, 116);
  payload.copy(frame, PAYLOAD_AT);
  return frame;
}

/** Null if it is no frame, or its digest differs: it is not acknowledged, so its sender sends it again. */
export function readFrame(data: Buffer): Frame | null {
  if (data.length < PAYLOAD_AT || data.readUInt32BE(0) !== HEADER_BYTES) return null;
  const payload = data.subarray(PAYLOAD_AT);
  if (data.readUInt32BE(116) !== payload.length) return null;
  if (payload.length && !createHash('sha256').update(payload).digest().equals(data.subarray(80, 112))) return null;
  const uuid = Buffer.concat([data.subarray(72, 80), data.subarray(64, 72)]).toString('hex');
  return {
    type: data.toString('latin1', 4, 36).replace(/[\0 ]+$/, ''),
    sequence: Number(data.readBigInt64BE(48)),
    id: uuid.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'),
    payloadType: data.readUInt32BE(112),
    payload,
  };
}
