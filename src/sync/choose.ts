import { awsStatus } from '../aws/reason';
import { Problem } from '../report/problem';
import { archiveStrategy } from './archive';
import { packedStrategy } from './packed';
import type { SyncStrategy } from './strategy';

/** By the store; by an archive where the bucket can't do what the store needs (conditional writes: not all that speak S3 do). */
const autoStrategy: SyncStrategy = {
  async deliver(context, freight) {
    try {
      return await packedStrategy.deliver(context, freight);
    } catch (error) {
      if (!(error instanceof Problem) || awsStatus(error.cause) !== 501) throw error;
      context.reporter.detail('The bucket knows no conditional writes: sending an archive.');
      return archiveStrategy.deliver(context, freight);
    }
  },
};

export function strategyOf(name: 'auto' | 'store' | 'archive'): SyncStrategy {
  return { auto: autoStrategy, store: packedStrategy, archive: archiveStrategy }[name];
}
