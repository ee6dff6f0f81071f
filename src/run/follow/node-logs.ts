import type { RunContext } from '../../context/types';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { Semaphore } from '../../system/semaphore';
import { sleep } from '../../system/sleep';
import { HEARTBEAT_TIMEOUT_MS } from '../record/liveness';
import { readNodeRecord, tryReadRecord, type RunRecord } from '../record/record';
import { followRun } from './follow';
import { inOrderOfTime, LogHistory } from './log-history';
import { startOfLog } from './log-offset';
import { NodeLines } from './node-lines';

/** Nodes that are looked at once. Each look holds a segment of a log. */
const CONCURRENCY = 16;
/** Between two looks for the first record of a node, ms. */
const FIRST_RECORD_POLL_MS = 2_000;

export interface NodeLogsOptions {
  signal: AbortSignal;
  since?: string;
  /** Of each node. */
  tail?: number;
  /** Until the run has ended, or all that there is was shown. */
  once: boolean;
}

/**
 * Prints the logs of all nodes of a run, each line with its node. What the store has already comes in the order in which
 * it was written, and then each line as it comes.
 * @param run its record, that of the first node.
 * @returns it as it is then.
 */
export async function streamNodeLogs(
  context: RunContext,
  run: RunRecord,
  options: NodeLogsOptions,
): Promise<RunRecord> {
  const logs = new NodeLogs(context, run, options);
  await logs.showHistory();
  return logs.follow();
}

interface OneNode {
  rank: number;
  lines: NodeLines;
  record: RunRecord | null;
  /** The offset in its log up to which it was shown. */
  at: number;
}

class NodeLogs {
  private readonly nodes: OneNode[];
  private readonly turns = new Semaphore(CONCURRENCY);
  /** The followers of the other nodes end with it. */
  private readonly others = new AbortController();

  constructor(
    private readonly context: RunContext,
    private readonly run: RunRecord,
    private readonly options: NodeLogsOptions,
  ) {
    const print = (line: string) => context.printer.log(Buffer.from(line));
    this.nodes = Array.from({ length: run.node?.count ?? 1 }, (_, rank) => ({
      rank,
      lines: new NodeLines(rank, print),
      record: rank === 0 ? run : null,
      at: 0,
    }));
  }

  async showHistory(): Promise<void> {
    const found = await Promise.all(this.nodes.map((node) => this.turns.with(() => this.historyOf(node))));
    const histories = new Map(found.flatMap((each) => (each ? [each] : [])));
    await inOrderOfTime([...histories.keys()], (from, piece) => histories.get(from)!.lines.add(piece));
    for (const [history, node] of histories) node.at = history.at;
  }

  /** @returns the record of the first node. */
  async follow(): Promise<RunRecord> {
    const [first, ...others] = this.nodes;
    const { signal } = this.options;
    const rest = Promise.all(others.map((node) => this.followOther(node)));
    rest.catch(() => undefined);
    try {
      const ended = await this.followNode(first, first.record!, signal);
      const late = setTimeout(() => this.others.abort(), HEARTBEAT_TIMEOUT_MS);
      await rest.finally(() => clearTimeout(late));
      return ended;
    } finally {
      this.others.abort();
      await rest.catch(() => undefined);
      for (const { lines } of this.nodes) lines.end();
    }
  }

  private async historyOf(node: OneNode): Promise<[LogHistory, OneNode] | null> {
    const { store, keys } = this.context;
    const { since, tail, signal } = this.options;
    // Of one that can't be read, whoever follows the node says why.
    node.record ??= (await tryReadRecord(store, keys, this.run.id, node.rank))?.record ?? null;
    if (!node.record) return null;
    node.at = await startOfLog(this.context, node.record, { since, tail });
    return [new LogHistory(this.context, node.record, node.at, signal), node];
  }

  private async followOther(node: OneNode): Promise<void> {
    const signal = AbortSignal.any([this.options.signal, this.others.signal]);
    try {
      const record = node.record ?? (await this.awaitRecord(node, signal));
      if (record) await this.followNode(node, record, signal);
    } catch (error) {
      if (this.options.signal.aborted) throw error;
      const why = signal.aborted ? 'it has not ended' : (error as Error).message.split('\n')[0];
      this.warn(node, `its log is not shown any further: ${why}`);
    }
  }

  private followNode(node: OneNode, record: RunRecord, signal: AbortSignal): Promise<RunRecord> {
    let warned = 0;
    return followRun(this.context, record, {
      signal,
      from: node.at,
      once: this.options.once,
      turns: this.turns,
      onLog: (data) => node.lines.add(data),
      onState: ({ metrics: { warnings } }) => {
        for (const text of warnings.slice(warned)) this.warn(node, sanitizeForTerminal(text));
        warned = Math.max(warned, warnings.length);
      },
    });
  }

  /** Waits for the first record of a node that has not begun; null: only what there is is shown. */
  private async awaitRecord(node: OneNode, signal: AbortSignal): Promise<RunRecord | null> {
    const { store, keys } = this.context;
    for (;;) {
      const read = await this.turns.with(() => readNodeRecord(store, keys, this.run.id, node.rank));
      if (read) return read.record;
      if (this.options.once) {
        this.warn(node, 'the store has no log of it yet.');
        return null;
      }
      await sleep(FIRST_RECORD_POLL_MS, signal);
    }
  }

  private warn({ rank }: OneNode, text: string): void {
    this.context.printer.warn(`Node ${rank} of ${this.run.id}: ${text}`);
  }
}
