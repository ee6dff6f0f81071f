import type { ProjectGraph } from '@nx/devkit';
import type { RunPart, SyncReply } from '../command/plan';
import { formatCount, formatDuration, formatSize } from '../report/units';
import { printable } from '../report/terminal-text';
import { scan } from '../snapshot/scan';
import type { Snapshot } from '../snapshot/snapshot';
import { join } from 'node:path';
import type { Recipes } from '../snapshot/recipes';
import { strategyOf } from '../sync/choose';
import { synchronise, type Synchronised } from '../sync/synchronise';
import { findFiles, type FoundFiles } from '../workspace/files';
import { stateDirectory } from '../workspace/state';
import type { Configuration } from '../config/configuration';
import type { Reporter } from '../report/reporter';
import { describeLeftOut, warnLarge } from './describe-files';
import type { Session } from './session';

export interface Workspace {
  workspaceRoot: string;
  projectGraph: ProjectGraph;
  project: string;
  configuration: Configuration;
  reporter: Reporter;
}

export interface Scanned {
  files: FoundFiles;
  snapshot: Snapshot;
  recipes: Recipes;
}

/** The project's files as they are now. Says what vanished, what was left out, and which patterns match nothing. */
export async function scanProject(workspace: Workspace): Promise<Scanned> {
  const { configuration, reporter } = workspace;
  const files = await findFiles({
    workspaceRoot: workspace.workspaceRoot,
    projectGraph: workspace.projectGraph,
    projectName: workspace.project,
    include: configuration.sync.include,
    exclude: configuration.sync.exclude,
    dependencies: configuration.sync.dependencies,
    outputDir: configuration.train.outputDir,
  });
  for (const warning of files.warnings) reporter.warn(warning);
  const { snapshot, vanished, recipes } = await scan({
    workspaceRoot: workspace.workspaceRoot,
    cache: join(stateDirectory(workspace.workspaceRoot), 'scans', encodeURIComponent(workspace.project)),
    paths: files.paths,
    emptyDirectories: files.emptyDirectories,
  });
  if (vanished.length) {
    reporter.warn(
      `gone since they were listed, not sent: ${vanished.slice(0, 10).map(printable).join(', ')}${vanished.length > 10 ? ` and ${vanished.length - 10} more` : ''}`,
    );
  }
  return { files, snapshot, recipes };
}

/** Brings the instance to the workspace's state, and starts `run` with the same command where one is given. */
export async function push<R extends SyncReply>(
  session: Session,
  workspace: Workspace,
  options: {
    signal?: AbortSignal;
    /** A scan that was begun already. */
    first?: Scanned | Promise<Scanned>;
    force?: boolean;
    run?: (snapshot: Snapshot) => RunPart;
    onSend?: () => void;
  },
): Promise<Synchronised<R>> {
  const { reporter, configuration } = session;
  const started = Date.now();
  let scanned = options.first;
  let planned = '';
  const result = await synchronise<R>({ ...session, signal: options.signal }, strategyOf(configuration.sync.strategy), {
    scan: async () => {
      const now = await (scanned ?? scanProject(workspace));
      scanned = undefined;
      if (!planned) describeLeftOut(now.files, (text) => reporter.detail(text));
      return now;
    },
    preflight: () => session.preflight(options.signal),
    onPlan: (snapshot, head, send) => {
      if (planned === `${snapshot.id} ${head?.id}`) return;
      planned = `${snapshot.id} ${head?.id}`;
      warnLarge(reporter, snapshot, send.bytes, configuration.sync.warnSize);
    },
    force: options.force,
    run: options.run,
    onSend: options.onSend,
  });
  describeSync(session, result, Date.now() - started);
  return result;
}

function describeSync<R extends SyncReply>(session: Session, result: Synchronised<R>, ms: number): void {
  const { reporter } = session;
  const { sent, snapshot } = result;
  const how = sent.uploaded ? `${formatSize(sent.uploaded)} uploaded` : 'nothing uploaded';
  const saved = sent.saved ? `, ${formatSize(sent.saved)} there already` : '';
  const files = sent.files ? `${formatCount(sent.files, 'file')} sent (${formatSize(sent.bytes)}, ${how}${saved})` : '';
  for (const [instance, reply] of result.replies) {
    const deleted = reply.deleted ? `${reply.deleted} deleted` : '';
    const written = reply.written && !files ? `${reply.written} written` : '';
    const what = [files, written, deleted].filter(Boolean).join(', ') || 'nothing changed';
    reporter.line(`Synced ${formatCount(snapshot.size, 'file')} to ${instance}: ${what}, in ${formatDuration(ms)}`);
    describeReply(reporter, instance, reply);
  }
  for (const [instance, error] of result.failures) reporter.warn(`${instance} was not synced: ${error.message}`);
  reporter.detail(`Snapshot ${snapshot.id}`);
}

function describeReply(reporter: Reporter, instance: string, reply: SyncReply): void {
  if (reply.restoredCount) {
    const named = reply.restored.slice(0, 5).map(printable).join(', ');
    const kept = reply.kept ? `; what stood there is in ${printable(reply.kept)} (--force keeps nothing)` : '';
    reporter.warn(
      `${formatCount(reply.restoredCount, 'synced file')} had been changed on the instance and ${reply.restoredCount === 1 ? 'was' : 'were'} put back: ${named}${kept}`,
    );
  }
  if (reply.healed) reporter.detail(`${instance} held something else than was known here; it was healed.`);
  reporter.detail(`${instance}: tree ${printable(reply.tree)} of ${printable(reply.user)}`);
}
