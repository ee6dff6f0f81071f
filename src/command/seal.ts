import { createHmac, randomBytes } from 'node:crypto';

const MAGIC = Buffer.from('NXS1');
const NONCE_BYTES = 16;
const BLOCK_BYTES = 32;

/**
 * Makes bytes unreadable, and unchangeable unnoticed, for whoever lacks the key: docs/reference/formats.md, "Sealed plans".
 * The instance has Python's standard library alone, which knows HMAC and no cipher.
 */
export function seal(bytes: Buffer, key: Buffer): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = Buffer.concat([MAGIC, nonce, xor(bytes, stream(derive(key, 'encrypt'), nonce, bytes.length))]);
  return Buffer.concat([cipher, createHmac('sha256', derive(key, 'authenticate')).update(cipher).digest()]);
}

function derive(key: Buffer, purpose: string): Buffer {
  return createHmac('sha256', key).update(`nx-ec2 seal 1 ${purpose}`).digest();
}

/** HMAC-SHA256 over the nonce and a counter, block after block. */
function stream(key: Buffer, nonce: Buffer, length: number): Buffer {
  const out = Buffer.alloc(Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES);
  const counter = Buffer.alloc(8);
  for (let at = 0; at < length; at += BLOCK_BYTES) {
    counter.writeBigUInt64BE(BigInt(at / BLOCK_BYTES));
    createHmac('sha256', key).update(nonce).update(counter).digest().copy(out, at);
  }
  return out;
}

function xor(a: Buffer, b: Buffer): Buffer {
  const out = Buffer.alloc(a.length);
  for (let at = 0; at < a.length; at++) out[at] = a[at] ^ b[at];
  return out;
}
