import { awsStatus } from '../../aws/reason';
import { RemoteFailure } from '../../command/remote-failure';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { formatCount } from '../../report/units';
import { FileMoved } from '../../snapshot/file-moved';
import type { SyncContext } from '../context';
import { deleteTemporaries } from '../manifest/publish-head';
import { SyncNotNeeded, type SyncOptions, type SyncProgress } from './types';

/** Commands that one sync may take. */
export const MAX_COMMANDS = 4;

/**
 * How a failed attempt is changed before the next one: upload everything before the command, name everything, send contents again, scan again, use the other
 * transport, leave out the instances that are offline, or run the preflight, which says what is wrong.
 */
export type RetryAction = 'upload' | 'everything' | 'packs' | 'scan' | 'fallback' | 'skip' | 'preflight';

/** What a command fetches that was put there for it: where it lacks, naming everything is no help. */
const SENT = new Set(['runtime', 'plan', 'archive']);

type Packs = SyncProgress['offered'];

/** What the policy decides by. */
export type Attempt = Pick<
  SyncProgress,
  'transport' | 'base' | 'isWarm' | 'diagnosed' | 'pending' | 'commands' | 'offered' | 'overlapped'
>;

/** @returns null where the sync fails with this error. */
export function retryActionFor(error: unknown, attempt: Attempt, isAborted: boolean): RetryAction | null {
  if (error instanceof SyncNotNeeded) return null;
  if (attempt.commands < MAX_COMMANDS && !isAborted) {
    const action = resendActionFor(error, attempt);
    if (action) return action;
  }
  if (attempt.transport.fallback && isNotImplemented(error)) return 'fallback';
  if (unreachable(attempt.pending, error).length) return 'skip';
  // Warm: sent first, diagnosed now. The preflight says what is wrong, or waits for an instance that boots.
  const isUnexplained = attempt.isWarm && !attempt.diagnosed && !(error instanceof RemoteFailure);
  return isUnexplained && !isAborted ? 'preflight' : null;
}

/** What of a command has to be another so that the instance can carry it out; null where sending again does not help. */
export function resendActionFor(
  error: unknown,
  { base, offered, overlapped }: Pick<SyncProgress, 'base' | 'offered' | 'overlapped'>,
): 'upload' | 'everything' | 'packs' | 'scan' | null {
  if (error instanceof FileMoved) return 'scan';
  if (!(error instanceof RemoteFailure)) return null;
  const { remoteCode: code, detail } = error;
  // The upload took longer than the instance waits.
  if (code === 'CONTENT_MISSING' && overlapped) return 'upload';
  // Another caller synced, the disk was replaced, or files were changed there, and its history did not help.
  if (code === 'CONTENT_MISSING' && base) return 'everything';
  // Another client has rewritten one of the manifests of its history.
  if (code === 'SNAPSHOT_MISMATCH' && base) return 'everything';
  // 400: it is there, encrypted with a key that nobody has.
  const missing = code === 'FETCH_FAILED' && [400, 403, 404].includes(Number(detail.status));
  // A manifest of the base was pruned: nothing showed that it is needed.
  if (base && missing && !SENT.has(String(detail.what))) return 'everything';
  if (
    offered.length &&
    ((missing && detail.what === 'pack') || /^(CONTENT_MISSING|PACK_MISMATCH|CHUNK_MISMATCH)$/.test(code))
  )
    return 'packs';
  return /^(CONTENT_MISSING|HASH_MISMATCH|ARCHIVE_MISMATCH)$/.test(code) ? 'scan' : null;
}

/** Changes what the next attempt does. @throws what the preflight finds. */
export async function applyRetry(
  context: SyncContext,
  progress: SyncProgress,
  request: Pick<SyncOptions, 'scan' | 'preflight'>,
  action: RetryAction,
  error: unknown,
): Promise<void> {
  const { printer } = context;
  const detail = error instanceof RemoteFailure ? error.detail : {};
  switch (action) {
    case 'everything':
      printer.detail(`The instance lacks ${formatCount(Number(detail.count ?? 0), 'content')}; sending the full list.`);
      progress.base = null;
      return;
    case 'upload':
      printer.detail('The upload took longer than the instance waits for it; sending the command again.');
      progress.uploadFirst = true;
      return;
    case 'packs':
      await forgetPacks(context, progress.offered);
      progress.base = null;
      return;
    case 'scan': {
      const paths = Array.isArray(detail.paths) ? detail.paths.map(String) : undefined;
      printer.line(
        `Files changed while they were sent${paths ? ` (${paths.slice(0, 3).map(sanitizeForTerminal).join(', ')})` : ''}; scanning again.`,
      );
      progress.scanned = await request.scan();
      return;
    }
    case 'fallback':
      printer.detail('The S3 server lacks conditional writes or checksums (HTTP 501); sending an archive.');
      progress.transport = progress.transport.fallback!;
      return;
    case 'skip': {
      const skipped = unreachable(progress.pending, error);
      for (const instance of skipped) progress.failures.set(instance, error as Error);
      progress.pending = progress.pending.filter((instance) => !skipped.includes(instance));
      return;
    }
    case 'preflight':
      progress.diagnosed = true;
      await request.preflight().catch(async (found: unknown) => {
        await deleteTemporaries(context, progress.leftovers);
        throw found;
      });
  }
}

/** Forgets those of the packs that are missing or do not match their names; all of them if each one seems right. */
async function forgetPacks({ store, keys, index, printer }: SyncContext, packs: Packs): Promise<void> {
  const right = await Promise.all(packs.map(({ sha256, size }) => store.hasChecksum(keys.pack(sha256), sha256, size)));
  const wrong = packs.filter((_, number) => !right[number]);
  const forgotten = (wrong.length ? wrong : packs).map(({ sha256 }) => sha256);
  printer.warn(
    wrong.length
      ? `${formatCount(wrong.length, 'pack')} in the store ${wrong.length === 1 ? 'is' : 'are'} missing or damaged (${forgotten[0]}); sending the contents again.`
      : `The packs in the store do not hold the expected contents; sending them again.`,
  );
  index.forget(new Set(forgotten));
}

/**
 * One of several instances that Systems Manager does not reach makes it refuse the command for all: which, its message
 * says. @returns those that the others can do without; none where none is named, or all are.
 */
function unreachable(pending: readonly string[], error: unknown): string[] {
  if (!(error instanceof Problem) || error.code !== 'INSTANCE_OFFLINE' || pending.length < 2) return [];
  const named = pending.filter((instance) => error.aws?.message.includes(instance));
  return named.length === pending.length ? [] : named;
}

/** Whether a bucket does not know what a transport needs of it. */
export function isNotImplemented(error: unknown): boolean {
  return error instanceof Problem && awsStatus(error.cause) === 501;
}
