import type { Price } from '../../command/plan';
import { describePrice, dollars } from '../../instance/price/price';
import type { RunRecord } from '../record/record';

/** ms */
const HOUR_MS = 3_600_000;

/** What a run has cost so far. */
export interface Cost {
  usd: number;
  /** Of its last instance. */
  price: Price;
}

/** null if the price is unknown, and before the start. */
export function costOf(run: RunRecord, now = Date.now()): Cost | null {
  const price = run.metadata.price ?? configured(run);
  if (!price || run.startedAt === null) return null;
  // The instances of one attempt are of one type, and live as long as one another.
  const costs = spansOf(run, now).map(
    ({ from, to, perHour, nodes }) => ((to - from) / HOUR_MS) * (perHour ?? price.perHour) * nodes,
  );
  return { usd: costs.reduce((sum, each) => sum + each, 0), price };
}

function nodeCount({ node }: RunRecord): number {
  return node?.count ?? 1;
}

/** `$0.12, at $0.53 an hour (spot, eu-west-1a, EC2's price of 2026-11-25)` */
export function describeCost(run: RunRecord, now?: number): string | null {
  const cost = costOf(run, now);
  const each = nodeCount(run) > 1 ? `${nodeCount(run)} x ` : '';
  return cost && `${dollars(cost.usd)}, at ${each}${describePrice(cost.price)}`;
}

/** When a run has had an instance to itself, ms since the epoch. */
interface Span {
  instance: string;
  from: number;
  to: number;
  /** USD; null: as the last instance's. */
  perHour: number | null;
  /** How many nodes there were. */
  nodes: number;
}

/** On each instance from its first start to its last end there, not what is between two. */
function spansOf(run: RunRecord, now: number): Span[] {
  const { instance, startedAt, since, attempts } = run;
  if (startedAt === null) return [];
  const end = run.state === 'ended' ? run.endedAt : now;
  const spans: Span[] = [];
  const add = (on: string, from: number, to: number, perHour: number | null, nodes = nodeCount(run)) => {
    const last = spans.at(-1);
    if (last?.instance === on && last.nodes === nodes) {
      last.to = Math.max(last.to, to);
      last.perHour ??= perHour;
    } else {
      const begin = last?.instance === on ? last.to : from;
      spans.push({ instance: on, from: begin, to: Math.max(begin, to), perHour, nodes });
    }
  };
  for (const each of attempts)
    if (each.startedAt !== null)
      add(
        each.instance,
        each.startedAt,
        each.endedAt ?? each.startedAt,
        each.price?.perHour ?? null,
        each.nodes ?? undefined,
      );
  // The active attempt is not among them yet; what is saved after the last one is its instance's time too.
  const begun = attempts.length ? (since ?? spans.at(-1)?.to ?? startedAt) : startedAt;
  if (end !== null) add(instance, begun, end, null);
  return spans;
}

/** Of a run that was started before prices were written down. */
function configured({ metadata, startedAt }: RunRecord): Price | null {
  const { pricePerHour } = metadata.configuration;
  if (typeof pricePerHour !== 'number' || !(pricePerHour > 0)) return null;
  const date = new Date(startedAt ?? 0).toISOString().slice(0, 10);
  return { perHour: pricePerHour, market: 'on-demand', where: '', date, source: 'configured' };
}
