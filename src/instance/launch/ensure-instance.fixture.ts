import { PassThrough } from 'node:stream';
import { Aws } from '../../aws/clients';
import { launchSpecSchema, resolveLaunchSpec, type LaunchSpec } from '../../config/schema/launch-spec';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { Printer } from '../../report/printer';
import { StoreKeys } from '../../store/keys';
import { Store } from '../../store/store';
import type { Owner } from '../describe/ownership';
import type { EnsureOptions } from './options';

export const CALLER = 'arn:aws:iam::000000000000:user/local';

export function launchSpecOf(written: object): LaunchSpec {
  const read = resolveLaunchSpec(launchSpecSchema.parse({ type: 't3.micro', instanceProfile: 'training', ...written }));
  if ('wrong' in read) throw new Error(read.wrong);
  return read;
}

/** One caller's machine: its own clients, and what it was told. */
export class Caller {
  readonly said: string[] = [];
  readonly printer = new Printer({ stdout: new PassThrough().resume() as unknown as NodeJS.WriteStream });

  constructor(
    readonly owner: Owner,
    readonly aws = new Aws({}),
  ) {
    for (const how of ['warn', 'line', 'detail'] as const)
      this.printer[how] = (text) => void this.said.push(how === 'warn' ? `warning: ${text}` : text);
  }

  get told(): string {
    return this.said.join('\n');
  }

  options(launchSpec: LaunchSpec, more: Partial<EnsureOptions> = {}): EnsureOptions {
    const { aws, owner, printer } = this;
    return {
      aws,
      owner,
      printer,
      launchSpec,
      by: 'remote-up',
      isIdle: async () => true,
      store: new Store(aws, { bucket: 'bucket' }),
      keys: new StoreKeys('team', owner.project),
      ...more,
    };
  }
}

/** Ends all that local AWS has, and what it was short of. */
export async function clear({ aws }: Fixture): Promise<void> {
  aws.capacity.clear();
  aws.faults.clear();
  for (const each of aws.instances.all()) if (each.state !== 'terminated') aws.instances.change(each, 'terminated');
}
