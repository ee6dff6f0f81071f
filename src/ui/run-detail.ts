import { formatDuration, formatSize } from '../report/units';
import { repeatedOptions } from '../report/repeated-options';
import { commandLine, nxRun } from '../report/shell-words';
import { compareValues } from '../run/compare/values';
import type { RunRecord } from '../run/record/record';
import { describeCost } from '../run/status/cost';
import { describeOutcome } from '../run/status/outcome';
import { codeOf, gpuOf, hostOf } from '../run/status/status';
import type { Mark, RunDetail } from './api';
import { rowOf } from './run-row';
import type { FoundRun } from './store-reader';

/** A run in full, by its record. */
export function detailOf({ record, heard }: FoundRun): RunDetail {
  const { project, metadata, warnings, metrics, trouble } = record;
  const row = rowOf(record, heard);
  return {
    ...row,
    project,
    outcome: record.state === 'ended' ? describeOutcome(record) : row.state,
    facts: factsOf(record),
    configuration: compareValues({}, metadata.configuration).map(({ path, after }) => [path, JSON.stringify(after)]),
    marks: marksOf(record),
    warnings: [...(trouble === null ? [] : [trouble]), ...warnings, ...metrics.warnings],
    commands: commandsOf(record),
    logSize: record.log.size,
  };
}

function factsOf(record: RunRecord): [string, string][] {
  const { metadata, instance, user, gpus, caller, attempts, attempt, datasets, queue, metrics, restoredFrom } = record;
  const facts: [string, string | null][] = [
    ['Started by', `${caller}, on ${metadata.host}`],
    ['Instance', `${instance}, as ${user}${gpus?.length ? `, GPU ${gpus.join(', ')}` : ''}`],
    ['Waits for', queue && queue.holders.join(', ')],
    ['Command', metadata.command],
    ['Code', codeOf(record)],
    ['Cost', describeCost(record)],
    ['Attempts', attempts.length > 1 || attempt > 1 ? attemptsOf(record) : null],
    ['Began with', restoredFrom && `checkpoint ${restoredFrom.n} (${restoredFrom.unit}) of ${restoredFrom.run}`],
    ['Host', hostOf(metrics.host)],
    ...(metrics.gpus ?? []).map((gpu): [string, string] => [`GPU ${gpu.index}`, gpuOf(gpu)]),
    ['Data', datasets.map(({ source, version }) => `${source} ${version}`).join(', ') || null],
    ['Log', formatSize(record.log.size)],
  ];
  return facts.filter((each): each is [string, string] => Boolean(each[1]));
}

function attemptsOf({ attempts, attempt }: RunRecord): string {
  const ends = attempts.map(({ n, instance, startedAt, endedAt, why, signal, exitCode }) => {
    const took = startedAt !== null && endedAt !== null ? ` after ${formatDuration(endedAt - startedAt)}` : '';
    return `${n} on ${instance}: ${why ?? signal ?? `exited with ${exitCode}`}${took}`;
  });
  return `${attempt}; ${ends.join('; ')}`;
}

/** What is marked on a chart's time axis. */
export function marksOf({ attempts, since, attempt, checkpoints }: RunRecord): Mark[] {
  const begun = attempts.flatMap(({ n, startedAt }) => (startedAt === null ? [] : [{ n, at: startedAt }]));
  if (since !== null && !begun.some(({ n }) => n === attempt)) begun.push({ n: attempt, at: since });
  return [
    ...begun.filter(({ n }) => n > 1).map(({ n, at }): Mark => ({ at, label: `attempt ${n}`, kind: 'attempt' })),
    ...checkpoints.map(({ unit, at }): Mark => ({ at, label: `checkpoint ${unit}`, kind: 'checkpoint' })),
  ];
}

function commandsOf({ id, project, state, checkpoints, node }: RunRecord): [string, string][] {
  const command = (target: string, ...options: string[]) => `npx ${nxRun(project, target, ...options)}`;
  const verb = (...words: string[]) => commandLine('npx', 'nx-ec2', 'runs', ...words, ...repeatedOptions());
  return [
    ...(state === 'ended'
      ? []
      : ([
          ['Follow the log', command('remote-logs', `--run=${id}`)],
          ['Cancel the run', command('remote-cancel', `--run=${id}`)],
        ] as [string, string][])),
    ['Download the results', command('remote-pull', `--run=${id}`, ...(node?.rank ? [`--node=${node.rank}`] : []))],
    ...(checkpoints.length
      ? ([['Start a new run from its last checkpoint', command('remote-train', `--resumeFrom=${id}`)]] as [
          string,
          string,
        ][])
      : []),
    ['Write a report', verb('report', id, '--html=report.html')],
    ['Check out its code', verb('checkout', id)],
  ];
}
