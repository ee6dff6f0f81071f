import { lstatSync } from 'node:fs';
import { join } from 'node:path';
import { filesInput } from '../../project/scan-project';
import type { RunRecord } from '../../run/record/record';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { findFiles } from '../../workspace/files/find-files';
import { nxStartedAt } from '../../workspace/invocation';
import { reportedKeys, type ReportedKey } from '../../workspace/key-log';
import type { Target } from './run-target';

/** So many of the files that changed are named. */
const MAX_NAMED = 3;

/**
 * Compares what was sent with what Nx was told when it computed the task's hash. Nx caches every success of a cacheable
 * target under that hash, so a result of other files must not be one.
 */
export class CacheKeyCheck {
  private readonly reported: ReportedKey[];

  /** @param since the keys that count are those that were reported since then, ms: the start of the nx process. */
  constructor(
    private readonly target: Target,
    since = nxStartedAt(),
  ) {
    const { context, configuration } = target;
    // Without a report, the inputs are the project's own, and so is what they cover.
    this.reported = context.target?.cache ? reportedKeys(context.root, configuration.projectRoot, since) : [];
  }

  /** Says at the start of a run that its result can't be cached. @param snapshot the id of what was sent. */
  async warn(snapshot: string): Promise<void> {
    const other = this.reported.find((key) => this.hasOtherSettings(key) || key.snapshot !== snapshot);
    if (!other) return;
    const changed = this.hasOtherSettings(other)
      ? 'The configuration of the training changed'
      : await this.changedSince(other.at);
    this.target.printer.warn(
      `${changed} after Nx computed the cache key of this task. The training uses the present contents; its result won't be cached.`,
    );
  }

  /** @throws Problem `NOT_CACHED` where the result of a run is not that of the files and data that Nx was told. */
  rejectCaching(ended: Pick<RunRecord, 'id' | 'snapshot' | 'datasets'>, directory: string): void {
    const used = new Map(ended.datasets.map(({ source, version }) => [source, `${source} ${version}`]));
    const keyed = this.target.configuration.train.datasets.filter(({ cacheKey }) => cacheKey);
    const other = this.reported.find(
      (key) =>
        this.hasOtherSettings(key) ||
        key.snapshot !== ended.snapshot ||
        keyed.some(({ source }, index) => used.has(source) && used.get(source) !== key.versions[index]),
    );
    if (!other) return;
    throw new Problem(
      'NOT_CACHED',
      `The training ${ended.id} succeeded, and its artifacts are in ${directory}/. They are not the result of the files that Nx computed the cache key of: files, data or the configuration changed in between.`,
      {
        next: 'The target is reported as failed so that Nx does not cache the result for the earlier files. Run the same command again: it takes this result, without another training.',
      },
    );
  }

  private hasOtherSettings({ settings }: ReportedKey): boolean {
    return settings !== this.target.configuration.declaredSettings;
  }

  /** Which files changed since then, in words. */
  private async changedSince(at: number): Promise<string> {
    const { workspaceRoot } = this.target.workspace;
    const { paths } = await findFiles(filesInput(this.target.workspace));
    const changed = paths.filter((path) => {
      const stat = lstatSync(join(workspaceRoot, path), { throwIfNoEntry: false });
      return stat !== undefined && stat.ctimeMs >= at;
    });
    if (!changed.length) return 'Files changed, appeared or disappeared';
    const more = changed.length > MAX_NAMED ? ` and ${changed.length - MAX_NAMED} more` : '';
    return `${changed.slice(0, MAX_NAMED).map(sanitizeForTerminal).join(', ')}${more} changed`;
  }
}
