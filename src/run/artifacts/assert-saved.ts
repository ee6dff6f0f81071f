import { Problem } from '../../report/problem';
import { nxRun } from '../../report/shell-words';
import { printablePath, sanitizeForTerminal } from '../../report/terminal-text';
import { formatCount } from '../../report/units';
import { MAX_EXTRA_FILES, MAX_FILES } from '../record/file-lists';
import type { RunRecord } from '../record/record';
import type { OnInstance, SkippedFile } from './artifact-list';

/** Files that are named in one message. */
const MAX_NAMED = 10;
export const NOT_CACHED = 'The target is reported as failed so that Nx does not cache a result without its files.';

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
      next: `They are on ${record.instance} in ${sanitizeForTerminal(record.directory)}${artifacts?.state === 'failed' && record.state === 'ended' ? finalAdvice(error?.code, project) : `: run the same command to try again. ${nxRun(project, 'remote-doctor')} finds the cause.`}`,
    },
  );
}

/** The store refused them for 10 minutes (src/runtime/report/uploads.py). */
const REFUSED = ['ACCESS_DENIED', 'KEY_REFUSED', 'EXPIRED', 'UPLOAD_FAILED', 'FETCH_FAILED', 'NO_ROLE'];

/** Where the instance has said that it can't save them, it does not try again: the run counts as none that succeeded. */
function finalAdvice(code: string | undefined, project: string): string {
  const cause =
    code === 'UNSAFE_PATH'
      ? 'Have the training leave a directory of its own there, no link. '
      : REFUSED.includes(code ?? '')
        ? `${nxRun(project, 'remote-doctor')} finds the cause. To copy them: ${nxRun(project, 'remote-shell')}\n`
        : '';
  return ` as long as that instance exists, and are not saved any more. ${cause}The same command trains again.`;
}

/** @throws Problem `COLLECT_FAILED` where an output of a run that has succeeded is on its instance alone. */
export function assertOutputsSaved(
  { id, checkpoints }: Pick<RunRecord, 'id' | 'checkpoints'>,
  project: string,
  skipped: readonly SkippedFile[],
): void {
  const left = skipped.filter(({ unsaved }) => unsaved);
  if (left.length === 0) return;
  const named = left.slice(0, MAX_NAMED).map(({ path, why }) => `${printablePath(path)} (${sanitizeForTerminal(why)})`);
  const again = nxRun(project, 'remote-train');
  throw new Problem(
    'COLLECT_FAILED',
    `The training ${id} succeeded, but outputs of it could not be saved: ${named.join(', ')}${left.length > MAX_NAMED ? ', …' : ''}.`,
    {
      next: [
        NOT_CACHED,
        describeUnsaved(project, id, left),
        ...new Set(left.map(({ unsaved }) => UNSAVED_ADVICE[unsaved!])),
        ...(checkpoints.length > 0 ? [`To continue from its last checkpoint: ${again} --resumeFrom=${id}`] : []),
        `To train again: ${again} --rerun`,
      ].join('\n'),
    },
  );
}

/** Where files are that could not be saved, and how to get at them. */
export function describeUnsaved(project: string, run: string, files: readonly OnInstance[]): string {
  const places = new Set(files.map(({ instance, directory }) => `${instance} in ${sanitizeForTerminal(directory)}`));
  return `They are on ${[...places].join(', and on ')} as long as that instance exists. To copy them from there: ${nxRun(project, 'remote-shell', `--run=${run}`)}`;
}

/** What to change so that such a file is saved. */
const UNSAVED_ADVICE: Record<NonNullable<SkippedFile['unsaved']>, string> = {
  changed:
    'Find out which program writes to the files after the end of the command, for example on another machine with the same network file system.',
  bytes:
    'The smallest files were saved, as far as the limit allows. To save all of the next training, raise "train.maxArtifactSize", or choose fewer files with "train.outputs".',
  files: `At most ${formatCount(MAX_FILES, 'file')} come back: the smallest were saved. Have the training pack them into an archive, or choose fewer with "train.outputs".`,
  link: 'A link to a file that the training user can read is saved as a copy of it; a link to a directory outside the outputs is not. Have the training write into the output, or copy the directory there.',
  name: 'Have the training give its files names that are UTF-8 and shorter than 4,096 bytes.',
  unreadable: 'Have the training write files that its own user can read, in directories less than 200 deep.',
};

/** How to have extra files saved that were over a limit. */
export const EXTRA_ADVICE = `To save more, raise "train.extraLimit" (at most ${formatCount(MAX_EXTRA_FILES, 'file')} are saved).`;
