import type { LogPiece } from '../../command/plan';
import { inflate } from '../../system/bounded';
import { Problem } from '../../report/problem';

/** A reply brings so much of a log at the most, bytes: `READ` of log.py. */
const MAX_PIECE_BYTES = 512 * 1024;

export function inflated(piece: LogPiece): Buffer {
  if (!piece.length) return Buffer.alloc(0);
  try {
    return inflate(Buffer.from(piece.data, 'base64'), MAX_PIECE_BYTES);
  } catch (error) {
    throw new Problem(
      'REPLY_INVALID',
      `The instance's reply has a piece of log that can't be read: ${(error as Error).message}.`,
    );
  }
}
