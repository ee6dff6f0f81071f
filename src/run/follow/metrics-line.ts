import { sanitizeForTerminal } from '../../report/terminal-text';

/** The latest metrics of a training on one line. */
export function metricsOf(training: Record<string, number | null>): string {
  return Object.entries(training)
    .slice(0, 12)
    .map(([name, value]) => `${name} ${value === null ? 'NaN' : Number(value.toPrecision(5))}`)
    .join(', ');
}

/** A line about the sources of metrics that were not told before, and adds them to `told`; null: there are none. */
export function newSources(sources: readonly string[], told: Set<string>): string | null {
  const fresh = sources.filter((each) => !told.has(each));
  for (const each of fresh) told.add(each);
  if (!fresh.length) return null;
  const last = fresh.at(-1)!;
  const listed = fresh.length > 1 ? `${fresh.slice(0, -1).join(', ')} and ${last}` : last;
  return sanitizeForTerminal(`Metrics are read from ${listed}.`);
}
