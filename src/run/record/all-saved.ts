import type { RunRecord } from './record';

/** Whether no file that a run wrote is on its instance alone, as its record says after its end. */
export function isAllSaved({ artifacts }: Pick<RunRecord, 'artifacts'>): boolean {
  if (artifacts === null) return true;
  return artifacts.state === 'saved' && artifacts.unsaved === 0 && (artifacts.extra?.unsaved ?? 0) === 0;
}
