import { Problem } from '../../report/problem';
import type { ErrorCode } from '../../report/error-codes';
import { sleep } from '../../system/sleep';

const MAX_READS = 3;
const RETRY_MS = 500;

/**
 * Reads up to three times what may have been damaged or cut off on the way from S3.
 * @param damage the code of the error with which `read` rejects where bytes are not what their name or a hash says.
 */
export async function readAgain<T>(damage: ErrorCode, read: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (let reads = 1; ; reads++) {
    try {
      return await read();
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      if (reads === MAX_READS || !isPassing(error, damage)) throw error;
      await sleep(RETRY_MS * reads, signal);
    }
  }
}

/** What AWS refuses is no better the next time. */
function isPassing(error: unknown, damage: ErrorCode): boolean {
  return error instanceof Problem && !error.aws && (error.code === damage || error.code === 'STORE_GET');
}
