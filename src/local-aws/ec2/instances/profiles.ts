import { AwsError } from '../../protocol/aws-error';

/** Instance profiles, as EC2 knows them: any name is one, from the time on that it has arrived from IAM. */
export class InstanceProfiles {
  private readonly arrivals = new Map<string, number>();

  /** @param inMs from now until EC2 knows it, ms; Infinity: never. */
  arrive(name: string, inMs: number): void {
    this.arrivals.set(name, Date.now() + inMs);
  }

  /** The name of a profile that is given by name or ARN. @throws AwsError InvalidParameterValue where EC2 doesn't know it. */
  find(profile: string): string {
    const arn = profile.startsWith('arn:');
    const name = profile.split('/').pop()!;
    if (Date.now() >= (this.arrivals.get(name) ?? 0)) return name;
    throw new AwsError(
      'InvalidParameterValue',
      arn
        ? `Value (${profile}) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN`
        : `Value (${profile}) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name`,
    );
  }
}
