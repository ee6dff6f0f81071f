import { launchSpecSchema } from '../../config/schema/launch-spec';
import { Problem } from '../../report/problem';

/** Options of the generators that write a launch spec. */
export interface WantedInstance {
  /** One type, or several separated by commas. */
  instanceType?: string;
  spot?: boolean;
  instanceProfile?: string;
}

/** `instance` as it is written into ec2.config.json; undefined without such options. */
export function describeWanted({ instanceType, spot, instanceProfile }: WantedInstance): object | undefined {
  if (instanceType === undefined) {
    const alone = spot ? '--spot' : instanceProfile !== undefined ? '--instanceProfile' : undefined;
    if (alone === undefined) return undefined;
    throw new Problem('OPTION_INVALID', `${alone} describes an instance to launch, but --instanceType is not given.`, {
      next: 'Add --instanceType=<type>, e.g. g5.xlarge.',
    });
  }
  const types = instanceType
    .split(',')
    .map((type) => type.trim())
    .filter(Boolean);
  const instance = {
    type: types.length === 1 ? types[0] : types,
    ...(spot ? { spot } : {}),
    ...(instanceProfile === undefined ? {} : { instanceProfile }),
  };
  if (!launchSpecSchema.safeParse(instance).success) {
    throw new Problem('OPTION_INVALID', `--instanceType=${JSON.stringify(instanceType)} is not an instance type.`, {
      next: 'A type is, for instance, g5.xlarge; several are separated by commas.',
    });
  }
  return instance;
}
