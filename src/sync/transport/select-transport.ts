import { archiveTransport, plainArchiveTransport } from './archive-transport';
import { packTransport } from './pack-transport';
import type { Transport } from './transport';

/** auto: by the store; by an archive where the bucket can't do what the store needs (not all that speak S3 do). */
export function selectTransport(name: 'auto' | 'store' | 'archive'): Transport {
  if (name === 'auto') return { ...packTransport, fallback: plainArchiveTransport };
  return name === 'store' ? packTransport : archiveTransport;
}
