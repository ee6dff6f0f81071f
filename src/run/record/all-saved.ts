import type { RunRecord } from './record';

/** Whether no file that a run wrote is on its instance alone, as its record says after its end. */
export function isAllSaved({ artifacts }: Pick<RunRecord, 'artifacts'>): boolean {
  if (artifacts === null) return true;
  return artifacts.state === 'saved' && artifacts.unsaved === 0 && (artifacts.extra?.unsaved ?? 0) === 0;
}

/** A run that has ended, and whose instance has given up saving what it left. */
export function notSaved(run: RunRecord, trouble: string | null = null): RunRecord {
  const error = { code: 'UPLOAD_FAILED', message: trouble ?? 'the store refused it', detail: {} };
  const artifacts = { state: 'failed', sha256: null, files: 0, bytes: 0, unsaved: 0, extra: null, error } as const;
  return { ...run, state: 'saving', trouble, artifacts };
}
