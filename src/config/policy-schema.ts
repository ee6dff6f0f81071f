import { z } from 'zod';

const list = z.array(z.string()).optional();

/** What configuration from a repository may name: a file outside the repository, written by whoever runs the machine. */
export const policySchema = z.strictObject({
  buckets: list,
  prefixes: list,
  profiles: list,
  roles: list,
  instances: list,
  instanceTypes: list,
  instanceProfiles: list,
  images: list,
  subnets: list,
  securityGroups: list,
  capacityReservations: list,
  regions: list,
  kmsKeys: list,
  users: list,
  userData: z.boolean().optional(),
  remoteRoots: list,
  secrets: list,
  datasets: list,
  variables: list,
  endpoints: list,
  callers: list,
  envFiles: z.boolean().optional(),
});

/** A policy file, parsed. */
export interface Policy extends z.infer<typeof policySchema> {
  path: string;
}

/** What a policy allows for a setting; it limits nothing where that is undefined. */
export type Rule = [key: string, allowed: string[] | undefined, value: string | undefined];

/** `*` stands for any text; everything else for itself; the whole value must match. */
export function policyAllows(patterns: string[], value: string): boolean {
  return patterns.some((pattern) =>
    new RegExp(
      `^${pattern
        .split('*')
        .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
        .join('[^]*')}$`,
    ).test(value),
  );
}
