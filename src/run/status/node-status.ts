import { MAX_NODES } from '../../config/settings/nodes';
import { isAllSaved } from '../record/all-saved';
import { endedToGrow } from '../record/interruption';
import { HEARTBEAT_TIMEOUT_MS } from '../record/liveness';
import { isUnreadable, readNodeRecord, type RunRecord } from '../record/record';
import type { RunContext } from '../../context/types';
import { formatCount, formatDuration, formatSize } from '../../report/units';
import { mapConcurrent } from '../../system/side-by-side';
import { table } from '../../report/table';

/** Records that are read at once. */
const CONCURRENCY = 16;
/** A node whose step takes longer than the median of all nodes by this factor is slow. */
const SLOW_FACTOR = 1.5;

type Metrics = RunRecord['metrics'];

/** A node of a run on several, as it is now, as far as its record tells. */
export interface NodeStatus {
  rank: number;
  /** null: it has no record that can be read. */
  instance: string | null;
  address: string | null;
  /** `running`, `ready`, `exited`, `silent`, `succeeded`, `not started`, `being prepared`, … */
  state: string;
  /** Since its record was last written, ms. */
  heard: number | null;
  gpus: Metrics['gpus'];
  /** %, of its processors. */
  cpu: number | null;
  progress: Metrics['progress'];
  /** A step takes much longer than on the other nodes. */
  isSlow: boolean;
  artifacts: RunRecord['artifacts'];
}

/** The nodes of a run by their ranks; none where it has one. @param first the record of the first node. */
export async function readNodes({ store, keys }: RunContext, first: RunRecord, heard: number): Promise<NodeStatus[]> {
  const found: NodeStatus[] = [];
  const { count } = first.node ?? { count: 1 };
  const most = mostNodes(first);
  if (most === 1) return found;
  await mapConcurrent(Array(most).keys(), CONCURRENCY, async (rank) => {
    const isJoining = rank >= count;
    try {
      const read = rank === 0 ? { record: first, age: heard } : await readNodeRecord(store, keys, first.id, rank);
      if (isJoining) found.push(...joiningNode(rank, read, first));
      else found.push(read ? statusOfNode(rank, read, first) : unknownNode(rank, 'not started'));
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      if (!isJoining) found.push(unknownNode(rank, 'unverified'));
    }
  });
  found.sort((one, other) => one.rank - other.rank);
  markSlow(found);
  return found;
}

/** How many nodes a run can have: while it trains on fewer, others may be prepared. */
function mostNodes({ node, outcome, metadata }: RunRecord): number {
  const { nodes } = metadata.configuration;
  const count = node?.count ?? 1;
  if (outcome !== null || typeof nodes !== 'string') return count;
  return Math.min(MAX_NODES, Math.max(count, Number(nodes.split(':')[1]) || 0));
}

/** A node that is prepared for the next attempt; a record of an earlier attempt is of one that is gone. */
function joiningNode(
  rank: number,
  read: { record: RunRecord; age: number } | null,
  first: Pick<RunRecord, 'attempt'>,
): NodeStatus[] {
  if (read?.record.attempt !== first.attempt) return [];
  const { record, age } = read;
  const isPreparing = record.state !== 'ended' && age <= HEARTBEAT_TIMEOUT_MS;
  if (!isPreparing && !endedToGrow(record)) return [];
  const state = isPreparing ? 'being prepared' : 'ready for the next attempt';
  return [{ ...statusOfNode(rank, read, first), state, artifacts: null }];
}

function unknownNode(rank: number, state: string): NodeStatus {
  const unknown = {
    instance: null,
    address: null,
    heard: null,
    gpus: null,
    cpu: null,
    progress: null,
    artifacts: null,
  };
  return { rank, state, ...unknown, isSlow: false };
}

function statusOfNode(
  rank: number,
  { record, age }: { record: RunRecord; age: number },
  { attempt }: Pick<RunRecord, 'attempt'>,
): NodeStatus {
  const { instance, node, metrics, artifacts } = record;
  const before = record.attempt < attempt ? ` in attempt ${record.attempt}` : '';
  return {
    rank,
    instance,
    address: node?.address ?? null,
    state: `${stateOfNode(record, age)}${before}`,
    heard: record.state === 'ended' ? null : age,
    gpus: metrics.gpus,
    cpu: metrics.host?.cpu ?? null,
    progress: metrics.progress,
    isSlow: false,
    artifacts,
  };
}

function stateOfNode({ state, outcome, node }: RunRecord, age: number): string {
  if (state === 'ended') return outcome ?? 'ended';
  if (age > HEARTBEAT_TIMEOUT_MS) return 'silent';
  const phase = node?.phase ?? 'preparing';
  return state !== 'saving' && (phase === 'ready' || phase === 'exited') ? phase : state;
}

function markSlow(nodes: readonly NodeStatus[]): void {
  const median = medianStep(nodes);
  for (const node of nodes) node.isSlow = median !== null && (secondsOf(node) ?? 0) > SLOW_FACTOR * median;
}

/** Of two nodes, the time of the faster one. */
function medianStep(nodes: readonly NodeStatus[]): number | null {
  const times = nodes.flatMap((node) => secondsOf(node) ?? []).sort((a, b) => a - b);
  return times.length > 1 ? times[(times.length - 1) >> 1] : null;
}

function secondsOf({ progress }: NodeStatus): number | null {
  return progress?.secondsPerStep ?? null;
}

/** Lines of text, to be made safe to print. */
export function describeNodes(nodes: readonly NodeStatus[]): string {
  const heads = ['NODE', 'STATE', 'HEARTBEAT', 'INSTANCE', 'ADDRESS', 'USE', 'PROGRESS', 'STEP TIME'];
  const rows = nodes.map((node) => [
    String(node.rank),
    node.state,
    node.heard === null ? '' : `${formatDuration(node.heard)} ago`,
    node.instance ?? '',
    node.address ?? '',
    useOf(node),
    node.progress ? `${node.progress.name} ${node.progress.value}` : '',
    stepTimeOf(node),
  ]);
  // What no node tells has no column.
  const used = heads.map((_, column) => column < 2 || rows.some((row) => row[column] !== ''));
  const shown = table([heads, ...rows].map((row) => row.filter((_, column) => used[column])));
  const median = medianStep(nodes);
  const slow = nodes.filter(({ isSlow }) => isSlow).map((node) => `${node.rank} (${seconds(secondsOf(node)!)})`);
  if (!slow.length) return shown;
  const which = slow.length === 1 ? `node ${slow[0]}` : `the nodes ${slow.join(', ')}`;
  return `${shown}\nslow: ${which}; the median of all nodes is ${seconds(median!)}`;
}

function stepTimeOf(node: NodeStatus): string {
  const time = secondsOf(node);
  return time === null ? '' : `${seconds(time)}${node.isSlow ? ' slow' : ''}`;
}

function seconds(time: number): string {
  return time < 1 ? `${Number((time * 1000).toPrecision(3))} ms` : `${Number(time.toPrecision(3))} s`;
}

export function useOf({ gpus, cpu }: Pick<NodeStatus, 'gpus' | 'cpu'>): string {
  if (!gpus?.length) return cpu === null ? '' : `CPU ${Math.round(cpu)} %`;
  const many = gpus.length === 1 ? '' : `${gpus.length} x `;
  const use = mean(gpus.map(({ utilization }) => utilization));
  const memory = mean(gpus.map((gpu) => (gpu.memoryTotal ? (100 * (gpu.memoryUsed ?? 0)) / gpu.memoryTotal : null)));
  return `GPU ${many}${use ?? '?'} %${memory === null ? '' : `, memory ${memory} %`}`;
}

function mean(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length ? Math.round(known.reduce((sum, each) => sum + each, 0) / known.length) : null;
}

/** What all nodes have saved together. */
export function describeArtifacts(nodes: readonly Pick<NodeStatus, 'rank' | 'artifacts'>[]): string | null {
  const told = nodes.flatMap(({ rank, artifacts }) => (artifacts ? [{ rank, ...artifacts }] : []));
  if (!told.length) return null;
  const sum = (values: (number | null)[]) => values.reduce<number>((total, each) => total + (each ?? 0), 0);
  const files = sum(told.map((each) => each.files));
  const bytes = sum(told.map((each) => each.bytes));
  const failed = told.filter(({ state }) => state === 'failed').map(({ rank }) => rank);
  const saved = told.length - failed.length;
  const states = [
    ...(saved ? [saved === nodes.length ? 'saved' : `saved by ${saved} of ${nodes.length} nodes`] : []),
    ...(failed.length ? [nodes.length === 1 ? 'failed' : `failed on node ${failed.join(', ')}`] : []),
  ];
  const left = told.every((artifacts) => artifacts.state === 'failed' || isAllSaved({ artifacts }))
    ? ''
    : '; others are on the instance alone';
  return `${formatCount(files, 'file')}, ${formatSize(bytes)}, ${states.join(', ')}${left}`;
}
