import { join } from 'node:path';
import { awsCli } from '../programs';
import { run, timed, type Contender } from './contender';

export const awsSync: Contender = {
  name: 'aws s3 sync',
  about: 'up, then down on the instance with its role; what starts it there is not counted',
  missing: () => (awsCli() ? null : 'awscli could not be installed from PyPI'),
  open: async ({ testbed, input }) => {
    const { environment, instanceEnvironment, instances } = testbed.place;
    const target = join(instances[0].disk, 'model');
    const sync = (from: string, to: string, env: Record<string, string>, signal?: AbortSignal) =>
      run(awsCli()!, ['s3', 'sync', '--delete', '--only-show-errors', from, to], {
        // It reads the older name of the region's variable only.
        env: { PATH: process.env.PATH, AWS_DEFAULT_REGION: env.AWS_REGION, ...env },
        signal,
      });
    return {
      sync: (signal) =>
        timed(async () => {
          await sync(input.source, 's3://bench/model', environment, signal);
          await sync('s3://bench/model', target, instanceEnvironment, signal);
        }),
      target: () => target,
      close: () => undefined,
    };
  },
};
