import { detectEnvironment } from '../workspace/environment';
import type { RunPart, TrainReply, RunState } from '../command/plan';
import { Problem } from '../report/problem';
import { printable } from '../report/terminal-text';
import { join, posix } from 'node:path';
import { existsSync } from 'node:fs';
import type { Snapshot } from '../snapshot/snapshot';
import { followRun } from './follow';
import { newRunId, runKey } from './run-id';
import type { Scanned } from './scan-project';
import type { Session } from './session';
import type { Configuration } from '../config/configuration';

/** The run that a plan starts, but for what the snapshot decides. Throws where the script is not among the files that are sent. */
export async function planRun(
  configuration: Configuration,
  project: string,
  scanned: Scanned,
  rerun: boolean,
  workspaceRoot: string,
): Promise<(snapshot: Snapshot) => RunPart> {
  const train = configuration.train;
  if (train.script) refuseMissingScript(configuration, train.script, scanned, workspaceRoot);
  const environment = await detectEnvironment({
    workspaceRoot,
    projectRoot: configuration.projectRoot,
    paths: scanned.files.paths,
    environment: train.environment,
  });
  const id = newRunId(project, new Date());
  const decides = {
    project,
    projectRoot: configuration.projectRoot,
    script: train.script ?? null,
    command: train.command ?? null,
    args: train.args,
    environment,
    setup: train.setup,
    env: train.env,
    outputDir: train.outputDir,
  };
  return (snapshot) => ({
    id,
    key: runKey({ ...decides, snapshot: snapshot.id, artifacts: train.artifacts }),
    ...decides,
    timeout: train.timeout === undefined ? null : Math.ceil(train.timeout / 1000),
    grace: Math.ceil(train.grace / 1000),
    rerun,
    index: train.index ?? null,
  });
}

function refuseMissingScript(
  configuration: Configuration,
  script: string,
  scanned: Scanned,
  workspaceRoot: string,
): void {
  const path = posix.join(configuration.projectRoot, script);
  if (scanned.snapshot.entries.some((entry) => entry.path === path)) return;
  const there = existsSync(join(workspaceRoot, path));
  throw new Problem(
    'SCRIPT_MISSING',
    there ? `The script ${path} is not among the files that are sent.` : `The script ${path} does not exist.`,
    {
      next: there
        ? 'It is git-ignored or excluded: see what is left out with --dryRun, and name it under "sync.include".'
        : 'Set "train.script" (relative to the project) in ec2.config.json, or --script.',
    },
  );
}

/**
 * Says what was started or found.
 * @param cancel the command that stops it.
 */
export function describeStart(session: Session, reply: TrainReply, cancel: string): void {
  const { reporter } = session;
  const { run } = reply;
  const process = run.pid ? `, PID ${run.pid}` : '';
  if (reply.attached === 'running') {
    reporter.line(
      `This training runs already: attached to ${reporter.strong(run.id)} on ${session.instance}${process} (--rerun starts another)`,
    );
  } else if (reply.attached === 'ended') {
    reporter.line(
      `This training has ended already: ${reporter.strong(run.id)} on ${session.instance} (--rerun starts another)`,
    );
  } else {
    reporter.line(
      `Training ${reporter.strong(run.id)} started on ${session.instance}${process} as ${printable(run.user)}`,
    );
  }
  if (reply.attached !== 'ended') {
    reporter.line(`Ctrl+C leaves it running; come back with the same command, stop it with ${cancel}`);
  }
  if (run.user === 'root')
    reporter.detail('It runs as root: no login user was found on the instance; "user" names one.');
}

/** Follows a run to its end with its log on the terminal. */
export async function showRun(session: Session, run: string | null, signal: AbortSignal): Promise<RunState> {
  const { reporter } = session;
  let announced = false;
  const followed = await followRun(session, run, {
    signal,
    onLog: (data, log) => {
      if (log === 'setup' && !announced) reporter.line('Setting up the environment:');
      announced = true;
      reporter.log(data);
    },
    onState: (state) => {
      if (state.state === 'running' && state.pid) reporter.detail(`Running, PID ${state.pid}`);
    },
  });
  return followed.run;
}
