import bytes from 'bytes';

/** `1,234,567`; what is less than a hundred with two decimals at most: `0.19`. */
export function formatNumber(amount: number): string {
  const rounded = Math.abs(amount) < 100 ? Math.round(amount * 100) / 100 : Math.round(amount);
  // Not toLocaleString: its tables take a twentieth of a second to load.
  return String(rounded).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** `3 files`, `1 file`. */
export function formatCount(count: number, noun: string): string {
  const text = formatNumber(count);
  return `${text} ${noun}${text === '1' ? '' : 's'}`;
}

/** Bytes as people read them: `12.3 MB`. Units are powers of 1,024, as `bytes` parses them. */
export function formatSize(size: number): string {
  return bytes.format(size, { decimalPlaces: 1, unitSeparator: ' ' }) ?? `${size} B`;
}

/** Milliseconds as people read them: `0.4 s`, `12 s`, `3m 05s`, `2h 07m`, `3d 04h`. */
export function formatDuration(ms: number): string {
  if (ms < 9_950) return `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const two = (n: number) => String(n).padStart(2, '0');
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m ${two(seconds % 60)}s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours}h ${two(minutes % 60)}m`;
  return `${Math.floor(hours / 24)}d ${two(hours % 24)}h`;
}
