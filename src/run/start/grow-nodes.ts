import type { RunFacts, TrainReply } from '../../command/plan';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { formatNodes } from '../../config/settings/nodes';
import type { InstanceContext, RunContext } from '../../context/types';
import { describeInstance, isAlive } from '../../instance/describe/describe-instances';
import { listNoticed } from '../../instance/describe/spot-notice';
import { readTags } from '../../instance/describe/tags';
import type { Scanned, Workspace } from '../../project/scan-project';
import { push } from '../../project/sync-project';
import { Problem } from '../../report/problem';
import { withoutLines } from '../../report/without-lines';
import { steadyNow } from '../../system/moment';
import { sleep } from '../../system/sleep';
import { endedToGrow } from '../record/interruption';
import { waitForLeaseExpiry } from '../record/lease';
import { HEARTBEAT_TIMEOUT_MS } from '../record/liveness';
import { lookAtNodes } from '../record/node-records';
import { readNodeRecord, readRecord, type RunRecord } from '../record/record';
import { describeOutcome } from '../status/outcome';
import { terminateJoining } from './joining-nodes';
import type { PlannedRun } from './plan-run';
import { byRank } from './ranks';
import { launchForRun } from './run-instance';

/**
 * Between two looks at a run, ms; between the first two attempts to get more nodes, and at most; and how many of them may
 * fail for another reason than capacity.
 */
export const GROW = { poll: 5_000, retry: 60_000, maxRetry: 15 * 60_000, failures: 3 };

interface GrowthInputs {
  context: RunContext;
  launchSpec: LaunchSpec;
  workspace: Workspace;
  scanned: Scanned;
  planned: PlannedRun;
  force?: boolean;
  /** A context for the first node. */
  open(instance: string): Promise<InstanceContext>;
}

/** A node that is to join the next attempt. */
interface Joining {
  instance: string;
  rank: number;
}

/**
 * Gives an elastic run that trains on fewer nodes than it may have those that it lacks: launches them beside the others,
 * prepares them while it trains, and then asks the attempt to end, so that the next one begins on all.
 */
export class NodeGrowth {
  private readonly said = new Set<string>();
  private readonly quiet: RunContext;

  constructor(private readonly of: GrowthInputs) {
    this.quiet = { ...of.context, printer: withoutLines(of.context.printer) };
  }

  /** Serves one attempt, until it was asked to end, has ended, or has all its nodes. */
  async grow(of: Pick<RunFacts, 'id' | 'attempt'>, signal: AbortSignal): Promise<void> {
    const { printer } = this.of.context;
    let pause = GROW.retry;
    for (let failures = 0; failures < GROW.failures;) {
      const run = await this.waitUntilDue(of, signal);
      if (!run) return;
      try {
        if (await this.addNodes(run, signal)) return;
        failures++;
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof Problem)) throw error;
        if (error.code !== 'NO_CAPACITY') failures++;
        this.sayOnce(error.code, `${run.id} gets no more nodes yet, which is tried again: ${error.what}`);
      }
      await sleep(pause, signal);
      pause = Math.min(2 * pause, GROW.maxRetry);
    }
    printer.warn(`${of.id} gets no more nodes in attempt ${of.attempt}: it failed ${GROW.failures} times.`);
  }

  /** Waits until the attempt has trained for long enough. @returns its record; null: it needs no nodes, or is over. */
  private async waitUntilDue(of: Pick<RunFacts, 'id' | 'attempt'>, signal: AbortSignal): Promise<RunRecord | null> {
    const { context } = this.of;
    const { nodes: most, growAfter } = context.configuration.train;
    for (; growAfter !== false; await sleep(GROW.poll, signal)) {
      // The run is followed by somebody else, who reports what keeps its record from being read.
      const read = await readRecord(context.store, context.keys, of.id).catch(() => null);
      signal.throwIfAborted();
      if (!read) continue;
      const { record, written, age } = read;
      // The store may have the end of the attempt before for some seconds.
      if (record.attempt < of.attempt) continue;
      if (record.attempt > of.attempt || record.state === 'ended' || record.nodes.length >= most) return null;
      if (record.state !== 'running' || !record.nodes.length) continue;
      if (record.since === null || written + age - record.since < growAfter) continue;
      if (record.checkpoints.length) return record;
      this.sayOnce(
        'checkpoint',
        `${of.id} trains on ${record.nodes.length} of ${formatNodes(context.configuration.train)} nodes. It gets more when it has saved a checkpoint to resume from.`,
      );
    }
    return null;
  }

  /** @returns whether the attempt was asked to end; false: none of the new nodes could be prepared. */
  private async addNodes(run: RunRecord, signal: AbortSignal): Promise<boolean> {
    const { context } = this.of;
    const { printer, configuration } = context;
    const joining = await this.launch(run, signal);
    if (!joining.length) return false;
    const ids = joining.map(({ instance }) => instance).join(', ');
    this.sayOnce(
      ids,
      `${ids} ${joining.length === 1 ? 'is' : 'are'} being prepared while ${run.id} trains on ${run.nodes.length} of ${formatNodes(configuration.train)} nodes.`,
    );
    const first = await this.of.open(run.instance);
    first.allow(joining.map(({ instance }) => instance));
    const size = run.nodes.length + joining.length;
    const prepared = await Promise.all(joining.map((each) => this.prepare(first, run, each, size, signal)));
    const ready = await this.alive(
      joining.filter((_, n) => prepared[n]).map(({ instance }) => instance),
      signal,
    );
    const failed = joining.map(({ instance }) => instance).filter((each) => !ready.includes(each));
    if (failed.length) await terminateJoining(context, run, signal, failed);
    if (!ready.length) return false;
    printer.line(
      `${ready.join(', ')} ${ready.length === 1 ? 'is' : 'are'} ready: attempt ${run.attempt} of ${run.id} saves and ends, and the next one begins on ${run.nodes.length + ready.length} nodes.`,
    );
    const gracePeriod = Math.ceil(configuration.train.gracePeriod / 1000);
    await context
      .at(run.instance)
      .remote.send(
        { op: 'cancel', run: run.id, gracePeriod, attempt: run.attempt },
        { comment: `nx-ec2: more nodes for ${run.id}`, signal },
      );
    return true;
  }

  /** Launches what is missing, or as much of it as EC2 has capacity for. */
  private async launch(run: RunRecord, signal: AbortSignal): Promise<Joining[]> {
    const { launchSpec, context } = this.of;
    const { nodes: count } = context.configuration.train;
    const at = await describeInstance(context.aws, run.instance, signal);
    const request = {
      id: run.id,
      deadline: (at && readTags(at.tags).deadline) ?? undefined,
      count,
      min: run.nodes.length + 1,
    };
    const instances = await launchForRun(this.quiet, launchSpec, request, () => undefined, signal);
    const known = (await lookAtNodes(context, run.id, count)).flatMap((read, n) =>
      read ? [{ rank: n + 1, instance: read.record.instance }] : [],
    );
    const isNode = (id: string) => run.nodes.some(({ instance }) => instance === id);
    const added = instances.filter(({ id }) => !isNode(id));
    const all = [...run.nodes.map(({ instance }) => ({ id: instance })), ...added];
    const ordered = byRank(all, [...known, ...run.nodes]);
    return added.map(({ id }) => ({ instance: id, rank: ordered.findIndex((each) => each.id === id) }));
  }

  /** Prepares a node: its files, its data and its environment. @returns whether the next attempt can have it. */
  private async prepare(
    first: InstanceContext,
    run: RunRecord,
    { instance, rank }: Joining,
    size: number,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { scanned, planned, workspace, force } = this.of;
    const { id, attempt } = run;
    const there = { ...first, ...first.at(instance), instance, instances: [instance], printer: this.quiet.printer };
    const before = await waitForLeaseExpiry(there, id, signal, rank, attempt);
    const next = { id, attempt, heartbeat: before?.record.heartbeat ?? 0, terminated: before?.terminated };
    const { reply } = await push<TrainReply>(there, workspace, {
      signal,
      force,
      first: scanned,
      run: (snapshot) => planned.part(there, there.tree, snapshot, { next, node: { run: id, rank, joins: size } }),
      needs: () => planned.needs(),
      storeFirst: true,
    });
    // Of an earlier attempt, whose preparation continues.
    const actual = { instance, rank: reply.run.node?.rank ?? rank };
    const why = await this.waitUntilPrepared(run, actual, signal);
    if (why !== null)
      first.printer.warn(
        `${instance} can't become node ${rank} of ${id}: it ${why}. The training continues without it.`,
      );
    return why === null;
  }

  /** @returns null: it is; else how it failed. */
  private async waitUntilPrepared(
    { id }: RunRecord,
    { instance, rank }: Joining,
    signal: AbortSignal,
  ): Promise<string | null> {
    const { store, keys } = this.of.context;
    for (const since = steadyNow(); ; await sleep(GROW.poll, signal)) {
      const read = await readNodeRecord(store, keys, id, rank);
      const own = read?.record.instance === instance ? read : null;
      if (own?.record.state === 'ended') return endedToGrow(own.record) ? null : describeOutcome(own.record);
      if ((own?.age ?? steadyNow() - since) > HEARTBEAT_TIMEOUT_MS) return 'sent no more heartbeats';
    }
  }

  /** Those that live, and that AWS is not about to take away. */
  private async alive(ids: string[], signal: AbortSignal): Promise<string[]> {
    const { aws } = this.of.context;
    const noticed = await listNoticed(aws, ids, signal);
    const found = await Promise.all(ids.map((id) => describeInstance(aws, id, signal)));
    return ids.filter((id, n) => !noticed.includes(id) && found[n] !== null && isAlive(found[n]));
  }

  private sayOnce(what: string, text: string): void {
    if (!this.said.has(what)) this.of.context.printer.line(text);
    this.said.add(what);
  }
}
