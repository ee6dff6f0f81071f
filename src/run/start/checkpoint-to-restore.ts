import type { Restore } from '../../command/plan';
import { Problem } from '../../report/problem';
import { nxRun } from '../../report/shell-words';
import { resolveRun } from '../find/find-run';
import { prefixOfRecord, type RunRecord, type SavedCheckpoint } from '../record/record';
import { readCheckpoint } from '../record/file-lists';
import { lookAtNodes } from '../record/node-records';
import type { RunContext } from '../../context/types';

/** A checkpoint of a node of a run. */
interface NodeCheckpoint {
  rank: number;
  record: RunRecord;
  saved: SavedCheckpoint;
}

/**
 * The last checkpoint of a run, for another run that resumes from it: of a run on several nodes, what all have saved of it.
 * @param run its id, or `last`: the caller's own latest.
 * @param signed with URLs, for an instance whose role may not read the store.
 * @throws Problem where it has none.
 */
export async function resumePoint(context: RunContext, run: string | true, signed: boolean): Promise<Restore> {
  const { store, keys, configuration } = context;
  const chosen = await resolveRun(context, run);
  const { record, candidates } = await checkpointsOf(context, chosen.record);
  if (!candidates.length) {
    throw new Problem('NO_CHECKPOINT', `${record.id} has saved no checkpoint to resume from.`, {
      next: 'Have the training write checkpoints to NX_EC2_CHECKPOINT_DIR, or list their paths in "train.checkpoints.paths". To start from the beginning, leave out --resumeFrom.',
    });
  }
  const found = await newestOfAll(context, record, candidates);
  if (!found) {
    throw new Problem('NO_CHECKPOINT', `${record.id} has no checkpoint that all of its nodes have saved.`, {
      next: `Fetch what a node has saved: ${nxRun(context.project, 'remote-pull', `--run=${record.id}`, '--checkpoints', '--node=1')}`,
    });
  }
  const [first, ...others] = found;
  const prefix = prefixOfRecord(keys, record);
  const nodes = others.map(({ rank, saved: { n, sha256 } }) => ({ rank, n, sha256 }));
  const restore = { run: record.id, n: first.saved.n, sha256: first.saved.sha256, prefix, urls: null, nodes };
  if (!signed || configuration.storeAccess === 'role') return restore;
  const names = await Promise.all(
    found.map(async ({ rank, record: own, saved: { n } }) => {
      const { files } = await readCheckpoint(store, keys, own, n);
      const parts = new Set(files.flatMap((file) => file.parts.map((part) => `part/${part}`)));
      return [`checkpoint/${n}.json`, ...parts].map((name) => (rank ? `node/${rank}/${name}` : name));
    }),
  );
  const urls = await Promise.all(
    names.flat().map(async (name) => [name, await store.presignGet(`${prefix}${name}`)] as const),
  );
  return { ...restore, urls: Object.fromEntries(urls) };
}

/** The run's own checkpoints; of a run that saved none, the checkpoint of another run that it was started from. */
async function checkpointsOf(
  context: RunContext,
  record: RunRecord,
): Promise<{ record: RunRecord; candidates: SavedCheckpoint[] }> {
  const { checkpoints, restoredFrom: restored } = record;
  if (checkpoints.length || !restored || restored.run === record.id) return { record, candidates: checkpoints };
  const origin = (await resolveRun(context, restored.run)).record;
  const candidates = origin.checkpoints.filter(({ n }) => n === restored.n);
  return candidates.length ? { record: origin, candidates } : { record, candidates };
}

/**
 * The newest of the first node's checkpoints that each other node has, by its name, which has saved any in attempts of as
 * many nodes; null: there is none. The runtime chooses so for the next attempt of a run.
 * @param candidates of the first node, oldest first.
 */
async function newestOfAll(
  context: RunContext,
  record: RunRecord,
  candidates: readonly SavedCheckpoint[],
): Promise<NodeCheckpoint[] | null> {
  const last = record.node?.count ?? 1;
  const counts = new Map(record.attempts.map(({ n, nodes }) => [n, nodes ?? last]));
  const countOf = ({ attempt }: SavedCheckpoint) => counts.get(attempt) ?? last;
  const others = await lookAtNodes(context, record.id, Math.max(...candidates.map(countOf)));
  for (const saved of [...candidates].reverse()) {
    const found: NodeCheckpoint[] = [{ rank: 0, record, saved }];
    const isWhole = others.slice(0, countOf(saved) - 1).every((read, n) => {
      const alike = read?.record.checkpoints.filter((each) => countOf(each) === countOf(saved)) ?? [];
      const own = alike.filter(({ unit }) => unit === saved.unit).at(-1);
      if (own) found.push({ rank: n + 1, record: read!.record, saved: own });
      return own || !alike.length;
    });
    if (isWhole) return found;
  }
  return null;
}
