import type { Restore } from '../../command/plan';
import { Problem } from '../../report/problem';
import { resolveRun } from '../find/find-run';
import { prefixOfRecord, type RunRecord, type SavedCheckpoint } from '../record/record';
import { readCheckpoint } from '../record/file-lists';
import type { RunContext } from '../../context/types';

/**
 * The last checkpoint of a run, for another run that resumes from it.
 * @param run its id, or `last`: the caller's own latest.
 * @param signed with URLs, for an instance whose role may not read the store.
 * @throws Problem where it has none.
 */
export async function resumePoint(context: RunContext, run: string | true, signed: boolean): Promise<Restore> {
  const { store, keys, configuration } = context;
  const chosen = await resolveRun(context, run);
  const { record, last } = (await lastCheckpoint(context, chosen.record)) ?? { record: chosen.record };
  if (!last) {
    throw new Problem('NO_CHECKPOINT', `${record.id} has saved no checkpoint to resume from.`, {
      next: 'Have the training write checkpoints to NX_EC2_CHECKPOINT_DIR, or list their paths in "train.checkpoints.paths". To start from the beginning, leave out --resumeFrom.',
    });
  }
  const prefix = prefixOfRecord(keys, record);
  const restore = { run: record.id, n: last.n, sha256: last.sha256, prefix, urls: null };
  if (!signed || configuration.storeAccess === 'role') return restore;
  const { files } = await readCheckpoint(store, keys, record, last.n);
  const names = [
    `checkpoint/${last.n}.json`,
    ...new Set(files.flatMap(({ parts }) => parts.map((part) => `part/${part}`))),
  ];
  const urls = await Promise.all(
    names.map(async (name) => [name, await store.presignGet(`${prefix}${name}`)] as const),
  );
  return { ...restore, urls: Object.fromEntries(urls) };
}

/** The run's own last checkpoint; of a run that saved none, the checkpoint of another run that it was started from. */
async function lastCheckpoint(
  context: RunContext,
  record: RunRecord,
): Promise<{ record: RunRecord; last: SavedCheckpoint } | null> {
  const own = record.checkpoints.at(-1);
  if (own) return { record, last: own };
  const { restoredFrom: restored } = record;
  if (!restored || restored.run === record.id) return null;
  const origin = (await resolveRun(context, restored.run)).record;
  const last = origin.checkpoints.find(({ n }) => n === restored.n);
  return last ? { record: origin, last } : null;
}
