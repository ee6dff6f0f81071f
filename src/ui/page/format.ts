export { formatDuration, formatSize } from '../../report/units';

/** `2026-11-24 04:30`, in the reader's time zone. */
export function formatTime(at: number): string {
  const date = new Date(at);
  const two = (n: number) => String(n).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

export function formatNumber(value: number | null): string {
  return value === null ? 'NaN' : String(Number(value.toPrecision(5)));
}

export function formatCost(usd: number | null): string {
  return usd === null ? '' : `$${usd < 100 ? usd.toFixed(2) : Math.round(usd)}`;
}
