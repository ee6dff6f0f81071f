import { isUtf8 } from 'node:buffer';

const PIECE_BYTES = 1024;
const REPLACEMENT = Buffer.from('\ufffd');

/**
 * Output as the agent cuts it for the wire: pieces of at most 1,024 bytes and what was kept back of the one before, no
 * character cut in two. As with the agent, up to three last bytes that are no whole character are never sent at the end
 * of the output, and of a U+FFFD in it only the first byte is.
 */
export class TextPieces {
  private kept: Buffer = Buffer.alloc(0);

  *take(data: Buffer): Iterable<Buffer> {
    for (let from = 0; from < data.length; from += PIECE_BYTES) {
      const piece = this.piece(Buffer.concat([this.kept, data.subarray(from, from + PIECE_BYTES)]));
      if (piece.length) yield piece;
    }
  }

  private piece(data: Buffer): Buffer {
    this.kept = Buffer.alloc(0);
    if (isUtf8(data) && !data.includes(REPLACEMENT)) return data;
    const sent: Buffer[] = [];
    for (let at = 0; at < data.length;) {
      const length = characterLength(data, at);
      const replacement = length === 3 && data.subarray(at, at + 3).equals(REPLACEMENT);
      if (length && !replacement) {
        sent.push(data.subarray(at, at + length));
        at += length;
        continue;
      }
      if (data.length - at < 4) {
        this.kept = data.subarray(at);
        break;
      }
      sent.push(data.subarray(at, at + 1));
      at += length || 1;
    }
    return Buffer.concat(sent);
  }
}

/** Bytes of the character that begins there; 0 where none does. */
function characterLength(data: Buffer, at: number): number {
  const first = data[at];
  const length = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 0;
  return length && at + length <= data.length && isUtf8(data.subarray(at, at + length)) ? length : 0;
}
