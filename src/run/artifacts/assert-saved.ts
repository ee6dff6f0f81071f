import { Problem } from '../../report/problem';
import { nxRun } from '../../report/shell-words';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { MAX_FILES } from '../record/file-lists';
import type { RunRecord } from '../record/record';

/** @throws Problem where what the run left is not in the store. */
export function assertSaved(record: RunRecord, project: string): void {
  const { artifacts } = record;
  if (artifacts?.state === 'saved') return;
  // A run without an output directory has left nothing.
  if (artifacts === null && record.state === 'ended' && record.trouble === null && record.heartbeat > 0) return;
  const error = artifacts?.error;
  throw new Problem(
    'COLLECT_FAILED',
    `The artifacts of ${record.id} could not be saved${error ? `: ${sanitizeForTerminal(error.message)} (${error.code})` : record.trouble ? `: ${sanitizeForTerminal(record.trouble)}` : ': the store has no record of its end'}`,
    {
      next:
        error?.code === 'LIMIT'
          ? limitAdvice(record, project, String(error.detail.limit))
          : `They are on ${record.instance} in ${sanitizeForTerminal(record.directory)}${artifacts?.state === 'failed' ? finalAdvice(error?.code) : `: run the same command to try again. ${nxRun(project, 'remote-doctor')} finds the cause.`}`,
    },
  );
}

/** Where the instance has said that it can't save them, it does not try again: the run counts as none that succeeded. */
function finalAdvice(code: string | undefined): string {
  const cause = code === 'UNSAFE_PATH' ? 'Have the training leave a directory of its own there, no link. ' : '';
  return ` as long as that instance exists, and are not saved any more. ${cause}The same command trains again.`;
}

/** A limit is checked when a run ends, so raising it saves nothing of this run: it is trained again. */
function limitAdvice(record: RunRecord, project: string, limit: string): string {
  const again = nxRun(project, 'remote-train');
  const fromCheckpoint = record.checkpoints.length
    ? ` To continue from its last checkpoint instead: ${again} --resumeFrom=${record.id}`
    : '';
  return `${LIMIT_ADVICE[limit] ?? LIMIT_ADVICE.bytes} The files stay on ${record.instance} in ${sanitizeForTerminal(record.directory)} as long as that instance exists, and are not saved any more. To train again from the start: ${again}.${fromCheckpoint}`;
}

/** What to do where the instance refused to save artifacts, by the limit that it names. */
const LIMIT_ADVICE: Record<string, string> = {
  bytes: 'Raise "train.maxArtifactSize", or choose fewer files with "train.outputs".',
  files: `At most ${MAX_FILES.toLocaleString('en')} files come back. Have the training pack them into an archive, or choose fewer with "train.outputs".`,
};
