/** The reflected polynomial of CRC-32C (Castagnoli). */
const CASTAGNOLI = 0x82f63b78;
const STEP = new Uint32Array(256);
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ CASTAGNOLI : value >>> 1;
  STEP[byte] = value;
}

/** CRC-32C, big-endian, as S3 has it; Node has CRC-32 alone. */
export function crc32c(data: Buffer): Buffer {
  let crc = 0xffffffff;
  for (const byte of data) crc = (crc >>> 8) ^ STEP[(crc ^ byte) & 0xff];
  const out = Buffer.alloc(4);
  out.writeUInt32BE(~crc >>> 0);
  return out;
}

/** The reflected polynomial of CRC-64/NVME. */
const POLYNOMIAL = 0x9a6c9329ac4bc9b5n;
/** One step of eight bits, in two halves of 32 bits: JavaScript's integers are no wider. */
const LOW = new Uint32Array(256);
const HIGH = new Uint32Array(256);
for (let byte = 0; byte < 256; byte++) {
  let value = BigInt(byte);
  for (let bit = 0; bit < 8; bit++) value = value & 1n ? (value >> 1n) ^ POLYNOMIAL : value >> 1n;
  LOW[byte] = Number(value & 0xffffffffn);
  HIGH[byte] = Number(value >> 32n);
}

/** CRC-64/NVME, big-endian, as S3 has it. */
export function crc64Nvme(data: Buffer): Buffer {
  let low = 0xffffffff;
  let high = 0xffffffff;
  for (const byte of data) {
    const index = (low ^ byte) & 0xff;
    low = ((low >>> 8) | (high << 24)) ^ LOW[index];
    high = (high >>> 8) ^ HIGH[index];
  }
  const out = Buffer.alloc(8);
  out.writeUInt32BE(~high >>> 0, 0);
  out.writeUInt32BE(~low >>> 0, 4);
  return out;
}
