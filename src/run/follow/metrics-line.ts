/** The latest metrics of a training on one line. */
export function metricsOf(training: Record<string, number | null>): string {
  return Object.entries(training)
    .slice(0, 12)
    .map(([name, value]) => `${name} ${value === null ? 'NaN' : Number(value.toPrecision(5))}`)
    .join(', ');
}
