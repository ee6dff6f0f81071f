import { archiveStrategy, plainArchiveStrategy } from './archive';
import { packedStrategy } from './packed';
import type { SyncStrategy } from './strategy';

/** auto: by the store; by an archive where the bucket can't do what the store needs (not all that speak S3 do). */
export function strategyOf(name: 'auto' | 'store' | 'archive'): SyncStrategy {
  if (name === 'auto') return { ...packedStrategy, otherwise: plainArchiveStrategy };
  return name === 'store' ? packedStrategy : archiveStrategy;
}
