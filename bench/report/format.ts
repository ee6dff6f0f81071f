export function formatMs(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(ms < 100_000 ? 2 : 0)} s`;
}

/** Powers of 1,000, as the network counts. */
export function formatBytes(bytes: number): string {
  const [unit, name] = bytes >= 1e9 ? [1e9, 'GB'] : bytes >= 1e6 ? [1e6, 'MB'] : bytes >= 1e3 ? [1e3, 'KB'] : [1, 'B'];
  const digits = unit === 1 || bytes / unit >= 100 ? 0 : 1;
  return `${(bytes / unit).toFixed(digits).replace(/\.0$/, '')} ${name}`;
}
