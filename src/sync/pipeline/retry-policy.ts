import { RemoteFailure } from '../../command/remote';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { formatCount } from '../../report/units';
import { FileMoved } from '../../snapshot/file-moved';
import type { SyncContext } from '../context';

/** What an attempt that failed asks for before the next one. */
export type RetryAction = 'everything' | 'packs' | 'scan';

/** What a command fetches that was put there for it: where it lacks, naming everything is no help. */
const SENT = new Set(['runtime', 'plan', 'archive']);

interface PackName {
  sha256: string;
  size: number;
}

/**
 * @param based whether the attempt relied on what the tree should hold.
 * @param offered the packs that it named.
 * @returns null where nothing helps that is to be had here.
 */
export function retryActionFor(error: unknown, based: boolean, offered: readonly PackName[]): RetryAction | null {
  if (error instanceof FileMoved) return 'scan';
  if (!(error instanceof RemoteFailure)) return null;
  const { remoteCode: code, detail } = error;
  // Another caller synced, the disk was replaced, or files were changed there, and its history did not help.
  if (code === 'CONTENT_MISSING' && based) return 'everything';
  // Its history is not what was thought: somebody else wrote one of the records anew.
  if (code === 'SNAPSHOT_MISMATCH' && based) return 'everything';
  const missing = code === 'FETCH_FAILED' && [403, 404].includes(Number(detail.status));
  // A record of the base is gone: it was not known that somebody needs it.
  if (based && missing && !SENT.has(String(detail.what))) return 'everything';
  if (
    offered.length &&
    ((missing && detail.what === 'pack') || /^(CONTENT_MISSING|PACK_MISMATCH|CHUNK_MISMATCH)$/.test(code))
  )
    return 'packs';
  return /^(CONTENT_MISSING|HASH_MISMATCH|ARCHIVE_MISMATCH)$/.test(code) ? 'scan' : null;
}

/** @returns whether the next attempt should name everything; else it should scan again. */
export async function applyRetry(
  context: SyncContext,
  remedy: RetryAction,
  error: unknown,
  offered: readonly PackName[],
): Promise<boolean> {
  const { reporter } = context;
  const detail = error instanceof RemoteFailure ? error.detail : {};
  if (remedy === 'everything') {
    reporter.detail(`The instance lacks ${formatCount(Number(detail.count ?? 0), 'content')}; sending the full list.`);
    return true;
  }
  if (remedy === 'packs') {
    await forgetPacks(context, offered);
    return true;
  }
  const paths = Array.isArray(detail.paths) ? detail.paths.map(String) : undefined;
  reporter.line(
    `Files changed while they were sent${paths ? ` (${paths.slice(0, 3).map(sanitizeForTerminal).join(', ')})` : ''}; scanning again.`,
  );
  return false;
}

/** Of packs that did not serve: forgets those that are gone or are not what their names say; all, where each seems to be. */
async function forgetPacks({ store, keys, index, reporter }: SyncContext, packs: readonly PackName[]): Promise<void> {
  const right = await Promise.all(packs.map(({ sha256, size }) => store.hasChecksum(keys.pack(sha256), sha256, size)));
  const wrong = packs.filter((_, number) => !right[number]);
  const forgotten = (wrong.length ? wrong : packs).map(({ sha256 }) => sha256);
  reporter.warn(
    wrong.length
      ? `${formatCount(wrong.length, 'pack')} in the store ${wrong.length === 1 ? 'is' : 'are'} gone or not what the name says (${forgotten[0]}); sending the contents again.`
      : `The packs in the store do not hold the expected contents; sending them again.`,
  );
  index.forget(new Set(forgotten));
}

/**
 * One of several instances that Systems Manager does not reach makes it refuse the command for all: which, its message
 * says. @returns whether the others can do without those, which are written down as failures.
 */
export function skipFailed(pending: readonly string[], failures: Map<string, Error>, error: unknown): boolean {
  if (!(error instanceof Problem) || error.code !== 'INSTANCE_OFFLINE' || pending.length < 2) return false;
  const named = pending.filter((instance) => error.aws?.message.includes(instance));
  if (!named.length || named.length === pending.length) return false;
  for (const instance of named) failures.set(instance, error);
  return true;
}
