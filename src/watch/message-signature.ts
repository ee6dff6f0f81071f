import { createHmac, timingSafeEqual } from 'node:crypto';
import { deflateSync } from 'node:zlib';
import { inflate } from '../system/bounded';

/** Whose messages these are: docs/reference/formats.md, "watch". */
export interface Seal {
  watchId: string;
  key: Buffer;
}

const SIGNATURE_BYTES = 32;
/** What a watcher says is short, bytes unpacked: paths and names, the first of them. */
export const MAX_MESSAGE_BYTES = 1024 * 1024;

/** A message as it lies in the store: its HMAC, then its JSON, compressed. */
export function seal(by: Seal, kind: 'edit' | 'ack', n: number, message: object): Buffer {
  const body = deflateSync(JSON.stringify(message));
  return Buffer.concat([code(by, kind, n, body), body]);
}

/** @returns null for what is not this message of this watch. */
export function unseal(by: Seal, kind: 'edit' | 'ack', n: number, bytes: Buffer): unknown {
  const body = bytes.subarray(SIGNATURE_BYTES);
  if (bytes.length < SIGNATURE_BYTES || !timingSafeEqual(bytes.subarray(0, SIGNATURE_BYTES), code(by, kind, n, body)))
    return null;
  return JSON.parse(inflate(body, MAX_MESSAGE_BYTES).toString());
}

function code({ watchId, key }: Seal, kind: string, n: number, body: Buffer): Buffer {
  return createHmac('sha256', key).update(`${kind} ${watchId} ${n}\n`).update(body).digest();
}
