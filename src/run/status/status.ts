import { dollars } from '../../instance/price/price';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { formatCount, formatDuration, formatSize } from '../../report/units';
import type { Problem } from '../../report/problem';
import { assertThere, pollRun } from '../follow/poll-instance';
import { costOf, describeCost } from './cost';
import { resolveRun, type FoundRun } from '../find/find-run';
import { describeOutcome } from './outcome';
import {
  isUnreadable,
  listRuns,
  MAX_READ_RECORDS,
  readRecord,
  type ReadRecord,
  type RunRecord,
} from '../record/record';
import { recordOf } from '../record/record-poller';
import { isResumable, awaitsReplacement } from '../record/interruption';
import { RecordUnverified } from '../record/signed-record';
import type { RunContext } from '../../context/types';
import { EC2_CHECK_MS, HEARTBEAT_TIMEOUT_MS, lost } from '../record/liveness';
import { metricsOf } from '../follow/metrics-line';
import { describeArtifacts, describeNodes, readNodes, type NodeStatus } from './node-status';
import { table } from '../../report/table';

/** A run as it is now, as far as can be told. */
export interface RunStatus extends RunRecord {
  /** Since its record was last written, ms. */
  heard: number;
  /** Its record says that it is active, but was not written for some time, and its instance does not answer. */
  silent: boolean;
  /** Of one run that is shown in full: its nodes by their ranks; none where it has one. */
  nodeStatus?: NodeStatus[];
}

/** A run whose record can't be verified or read: nothing that it says is believed. */
export interface UnverifiedRun {
  id: string;
  state: 'unverified' | 'unreadable';
  why: string;
}

/** How many records are read at once. */
const CONCURRENCY = 16;

/** How `listStatus` gets at runs. */
export interface RunReader {
  read(id: string): Promise<ReadRecord | UnverifiedRun | null>;
  status(found: FoundRun): Promise<RunStatus>;
}

/** Reads each run, and asks after it where its record is old. */
export function directReader(context: RunContext, signal: AbortSignal): RunReader {
  return { read: (id) => readOrWhy(context, id), status: (found) => statusOf(context, found, signal) };
}

/**
 * The newest runs of the project, newest first. Those that can't be verified or read are passed over and come in addition,
 * as many at most: anybody who can write to the bucket can make them.
 */
export async function listStatus(
  context: RunContext,
  limit: number,
  signal: AbortSignal,
  reader = directReader(context, signal),
): Promise<(RunStatus | UnverifiedRun)[]> {
  const ids = (await listRuns(context.store, context.keys)).slice(0, Math.max(limit, MAX_READ_RECORDS));
  const found: (RunStatus | UnverifiedRun)[] = [];
  let verified = 0;
  let unverified = 0;
  for (let from = 0; from < ids.length && verified < limit; from += CONCURRENCY) {
    const read = await Promise.all(ids.slice(from, from + CONCURRENCY).map((id) => reader.read(id)));
    const chosen = read.flatMap((each) => {
      if (each === null) return [];
      return ('why' in each ? unverified++ : verified++) < limit ? [each] : [];
    });
    found.push(...(await Promise.all(chosen.map((each) => ('why' in each ? each : reader.status(each))))));
  }
  return found;
}

async function readOrWhy({ store, keys }: RunContext, id: string): Promise<ReadRecord | UnverifiedRun | null> {
  try {
    return await readRecord(store, keys, id);
  } catch (error) {
    if (error instanceof RecordUnverified) return { id, state: 'unverified', why: error.why };
    // One run that can't be read does not hide the others.
    if (isUnreadable(error)) return { id, state: 'unreadable', why: (error as Problem).what };
    throw error;
  }
}

export async function oneStatus(
  context: RunContext,
  run: string,
  signal: AbortSignal,
  reader = directReader(context, signal),
): Promise<RunStatus> {
  const found = await reader.status(await resolveRun(context, run));
  return { ...found, nodeStatus: await readNodes(context, found, found.heard) };
}

/** A run whose record is active and old is checked: EC2 says whether its instance exists, and the instance says the rest. */
async function statusOf(context: RunContext, { record, age }: FoundRun, signal: AbortSignal): Promise<RunStatus> {
  const heard = Math.max(0, age);
  const asIs = { ...record, heard, silent: false };
  if (record.state === 'ended' || age < EC2_CHECK_MS) return asIs;
  try {
    if (age < HEARTBEAT_TIMEOUT_MS) {
      await assertThere(context, record);
      return asIs;
    }
    const { run, report } = await pollRun(context, record, record.log.size, signal);
    const state = run.outcome !== null && !report?.saved ? 'saving' : recordOf(run).state;
    return { ...record, ...run, state, heard, silent: false };
  } catch (error) {
    if (signal.aborted) throw error;
    if ((error as Problem).code === 'INSTANCE_GONE')
      return { ...lost(record, error as Problem, heard), heard, silent: false };
    return { ...asIs, silent: age >= HEARTBEAT_TIMEOUT_MS };
  }
}

/** In a few words: `running`, `running?` for one that nothing was heard of, `succeeded`. */
export function stateOf(run: RunStatus): string {
  if (awaitsReplacement(run)) return `${run.outcome}, to be resumed`;
  if (run.state === 'ended') return run.outcome ?? 'ended';
  return run.silent ? `silent for ${formatDuration(run.heard)}` : run.state;
}

export function amountOf(run: RunStatus): string {
  const cost = costOf(run);
  return cost ? dollars(cost.usd) : '';
}

export function took({ startedAt, endedAt }: RunRecord): string {
  return startedAt ? formatDuration((endedAt ?? Date.now()) - startedAt) : '';
}

export function tableOfRuns(runs: (RunStatus | UnverifiedRun)[], project: string): string {
  if (!runs.length) return `${project} has no runs in the store.`;
  const rows = runs.map((run) => ('why' in run ? [run.id, run.state, '', '', '', '', '', ''] : rowOf(run)));
  const shown = table([['RUN', 'STATE', 'AGE', 'DURATION', 'EXIT', 'COST', 'INSTANCE', 'BY'], ...rows]);
  const reasons = runs.flatMap((run) =>
    'why' in run ? [sanitizeForTerminal(`${run.id} is ${run.state}: ${run.why}`)] : [],
  );
  return [shown, ...reasons].join('\n');
}

function rowOf(run: RunStatus): string[] {
  return [
    run.id,
    stateOf(run),
    formatDuration(Date.now() - run.createdAt),
    took(run),
    run.exitCode === null ? (run.signal ?? '') : String(run.exitCode),
    amountOf(run),
    run.instance,
    callerName(run.caller),
  ];
}

/** `arn:aws:sts::…:assumed-role/dev/ana` → `ana`. */
export function callerName(arn: string): string {
  return arn.split('/').pop() ?? arn;
}

/** One run in full. */
export function describeRun(run: RunStatus): string {
  const { metrics, metadata, artifacts, nodeStatus: nodes = [] } = run;
  const time = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString().replace('T', ' ').slice(0, 19));
  const rows: [string, string | null][] = [
    ['run', run.id],
    ['state', run.state === 'ended' && run.outcome ? `${describeOutcome(run)}${describeNext(run)}` : stateOf(run)],
    ['waits for', run.queue && run.queue.holders.join(', ')],
    ['by', run.caller],
    ['instance', `${run.instance}, as ${run.user}${run.gpus?.length ? `, GPU ${run.gpus.join(', ')}` : ''}`],
    ['nodes', nodesOf(run)],
    ['command', metadata.command],
    ['launcher', launcherOf(run)],
    ['code', codeOf(run)],
    ['created', time(run.createdAt)],
    ['started', time(run.startedAt)],
    ['ended', time(run.endedAt)],
    ['duration', took(run)],
    ['cost', describeCost(run)],
    ['attempts', run.attempt > 1 ? attemptsOf(run) : null],
    ['log', `${formatSize(run.log.size)} in the store`],
    ['host', hostOf(metrics.host)],
    ...(metrics.gpus ?? []).map((gpu): [string, string] => [`GPU ${gpu.index}`, gpuOf(gpu)]),
    ['metrics', metricsOf(metrics.training)],
    ['read from', metrics.sources.join(', ')],
    ['checkpoints', run.checkpoints.map(({ unit, size }) => `${unit} (${formatSize(size)})`).join(', ')],
    ['artifacts', describeArtifacts(nodes.length ? nodes : [{ rank: 0, artifacts }])],
    [
      'extra files',
      artifacts?.extra?.files
        ? `${formatCount(artifacts.extra.files, 'file')} outside the outputs, ${formatSize(artifacts.extra.bytes)}`
        : null,
    ],
    ['data', run.datasets.map(({ source, version }) => `${source} (${version.slice(0, 12)})`).join(', ')],
    ['heard', run.state === 'ended' ? null : `${formatDuration(run.heard)} ago`],
    ['trouble', run.trouble],
    ...[...run.warnings, ...metrics.warnings].map((text): [string, string] => ['warning', text]),
  ];
  const shown = rows
    .filter(([, value]) => value)
    .map(([name, value]) => `${name.padEnd(11)} ${sanitizeForTerminal(value!)}`);
  return [...shown, ...(nodes.length ? ['', describeNodes(nodes)] : [])].join('\n');
}

/** Where the number of nodes may change: how many there are, of how many. */
function nodesOf({ node, metadata }: RunStatus): string | null {
  const { nodes } = metadata.configuration;
  return node && typeof nodes === 'string' ? `${node.count} of ${nodes}` : null;
}

function launcherOf({ launcher }: RunStatus): string | null {
  if (!launcher) return null;
  if (launcher.name === 'ray') return launcher.name;
  return launcher.processes === 1 ? `${launcher.name}, 1 process` : `${launcher.name}, ${launcher.processes} processes`;
}

function describeNext(run: RunStatus): string {
  if (awaitsReplacement(run)) return '; its fleet launches another instance to resume it';
  return isResumable(run) ? '; run the same command to resume it on another instance' : '';
}

export function codeOf({ snapshot, metadata: { git } }: RunRecord): string {
  const own = `snapshot ${snapshot.slice(0, 12)}`;
  return git
    ? `${own}, commit ${git.commit.slice(0, 12)}${git.branch ? ` on ${git.branch}` : ''}${git.dirty ? ' with changes' : ''}`
    : own;
}

function attemptsOf({ attempts, attempt }: RunRecord): string {
  return `${attempt}: ${attempts.map(({ n, exitCode, signal, why }) => `${n} ${why ?? signal ?? `exited with ${exitCode}`}`).join('; ')}`;
}

export function hostOf(host: RunRecord['metrics']['host']): string | null {
  if (!host) return null;
  const percent = (used: number | null, total: number | null) =>
    used !== null && total ? `${Math.round((100 * used) / total)} % of ${formatSize(total)}` : null;
  return [
    host.cpu !== null && `CPU ${Math.round(host.cpu)} %${host.cores ? ` of ${host.cores} cores` : ''}`,
    percent(host.memoryUsed, host.memoryTotal) && `memory ${percent(host.memoryUsed, host.memoryTotal)}`,
    percent(host.diskUsed, host.diskTotal) && `disk ${percent(host.diskUsed, host.diskTotal)}`,
    host.networkIn !== null && `network ${formatSize(host.networkIn)}/s in, ${formatSize(host.networkOut ?? 0)}/s out`,
  ]
    .filter(Boolean)
    .join(', ');
}

export function gpuOf(gpu: NonNullable<RunRecord['metrics']['gpus']>[number]): string {
  return [
    gpu.name,
    gpu.utilization !== null && `${gpu.utilization} %`,
    gpu.memoryUsed !== null && gpu.memoryTotal && `${formatSize(gpu.memoryUsed)} of ${formatSize(gpu.memoryTotal)}`,
    gpu.temperature !== null && `${gpu.temperature} °C`,
    gpu.power !== null && `${gpu.power} W`,
  ]
    .filter(Boolean)
    .join(', ');
}
