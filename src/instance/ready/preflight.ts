import type { Aws } from '../../aws/clients';
import { Problem } from '../../report/problem';
import type { Store } from '../../store/store';
import { callerArn } from '../describe/caller';
import { describeName, findInstance, type FoundInstance, type NamedInstance } from '../describe/find';
import { isOnline, waitOnline } from './online';

export interface PreflightTarget {
  aws: Aws;
  store: Store;
  instances: readonly NamedInstance[];
  /** ms that a booting instance is waited for. */
  wait: number;
  onWait?: (what: string) => void;
  signal?: AbortSignal;
}

/** One thing that must hold before anything can be sent, as asked from here. */
export interface PreflightCheck {
  name: string;
  run(): Promise<string>;
}

/** The checks that this side can make, each independent of the others. */
export function preflightChecks(target: PreflightTarget): PreflightCheck[] {
  const { aws, store } = target;
  return [
    { name: 'credentials', run: () => callerArn(aws) },
    {
      name: 'bucket',
      run: async () => {
        const [region, configured] = await Promise.all([store.bucketRegion(), aws.region()]);
        if (region && region !== configured) {
          throw new Problem(
            'BUCKET_REGION',
            `The bucket ${store.bucket} is in ${region}, but the configured region is ${configured}.`,
            {
              next: `Use a bucket in ${configured}, or set "region" to ${region} if the instance is in that region too.`,
              settings: ['bucket', 'region'],
            },
          );
        }
        return `${store.bucket}${region ? ` in ${region}` : ''}`;
      },
    },
    ...target.instances.map((name) => ({
      name: target.instances.length > 1 ? `instance ${describeName(name)}` : 'instance',
      run: async () => {
        // SSM reaches it: then it is there and runs, whatever EC2 says.
        if ('id' in name && (await isOnline(aws, name.id)).online) return `${name.id}, online`;
        const found = await findInstance(aws, name);
        await waitOnline(aws, found, target.wait, target.onWait ?? (() => undefined), target.signal);
        return describeFound(found);
      },
    })),
  ];
}

function describeFound(found: FoundInstance): string {
  return `${found.id}${found.name ? ` (${found.name})` : ''}${found.type ? `, ${found.type}` : ''}, online`;
}

/** Asks everything at once; throws one `Problem` that names every failure. */
export async function preflight(target: PreflightTarget): Promise<void> {
  const checks = preflightChecks(target);
  const results = await Promise.allSettled(checks.map((check) => check.run()));
  const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as Error] : []));
  if (failures.length === 0) return;
  if (failures.length === 1 || failures.some((failure) => (failure as Problem).code === 'CREDENTIALS')) {
    throw failures.find((failure) => (failure as Problem).code === 'CREDENTIALS') ?? failures[0];
  }
  const settings = [...new Set(failures.flatMap((failure) => (failure instanceof Problem ? failure.settings : [])))];
  throw new Problem('PREFLIGHT', failures.map((failure) => failure.message).join('\n\n'), {
    settings,
    cause: failures[0],
  });
}
