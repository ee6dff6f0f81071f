import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { z } from 'zod';
import { Problem } from '../report/problem';
import type { Configuration } from './configuration';
import type { InstanceName, NamedInstance } from './instance-name';

/** A name that may hold secrets; where case does not count, `.ENV` is the same file. */
export const ENV_FILE = /^\.env/i;

const list = z.array(z.string()).optional();

/** What configuration from a repository may name: a file outside the repository, written by whoever runs the machine. */
const policySchema = z.strictObject({
  buckets: list,
  prefixes: list,
  profiles: list,
  roles: list,
  instances: list,
  instanceTypes: list,
  instanceProfiles: list,
  images: list,
  regions: list,
  kmsKeys: list,
  users: list,
  secrets: list,
  data: list,
  variables: list,
  envFiles: z.boolean().optional(),
});

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

/** What a policy looks at: all of it for what concerns a project, the connection for what concerns the store. */
type Limited = Pick<Configuration, 'prefix' | 'profile' | 'roleArn' | 'region' | 'kmsKeyId'> &
  Partial<Pick<Configuration, 'bucket' | 'instances' | 'sync' | 'user' | 'train'>>;

/** @throws Problem where the configuration names what the policy does not allow. */
export function enforcePolicy(configuration: Limited, workspaceRoot: string, environment: NodeJS.ProcessEnv): void {
  const path = policyPath(environment);
  const policy = path ? readPolicy(path, workspaceRoot) : {};
  const { train } = configuration;
  const rules: Rule[] = [
    ['bucket', policy.buckets, configuration.bucket],
    ['prefix', policy.prefixes, configuration.prefix],
    ['profile', policy.profiles, configuration.profile],
    ['roleArn', policy.roles, configuration.roleArn],
    ...(configuration.instances ?? []).flatMap((name) => instanceRules(policy, name)),
    ['region', policy.regions, configuration.region],
    ['kmsKeyId', policy.kmsKeys, configuration.kmsKeyId],
    ['user', policy.users, configuration.user],
    ...Object.values(train?.secrets ?? {}).map((source): Rule => ['train.secrets', policy.secrets, source]),
    ...(train?.data ?? []).map(({ source }): Rule => ['train.data', policy.data, source]),
    ...(train?.passEnv ?? []).map((name): Rule => ['train.passEnv', policy.variables, name]),
  ];
  for (const [key, allowed, value] of rules) {
    if (allowed && value !== undefined && !policyAllows(allowed, value)) {
      throw new Problem('POLICY', `The policy ${path} does not allow "${key}": "${value}".`, {
        next: `It allows: ${allowed.join(', ') || 'none'}.`,
      });
    }
  }
  const envFile = configuration.sync?.include.find((pattern) => pattern.split('/').some((part) => ENV_FILE.test(part)));
  if (envFile && !policy.envFiles && (path || environment.CI)) {
    throw new Problem(
      'POLICY',
      `"sync.include" names ${envFile}, which is not sent ${path ? `under the policy ${path}` : 'in CI'}.`,
      {
        next: 'A policy file outside the repository (NX_EC2_POLICY) can allow it: { "envFiles": true }.',
      },
    );
  }
}

type Rule = [key: string, allowed: string[] | undefined, value: string | undefined];

/** Where a policy names the instances that may be used, others may be made only if it says which. */
function instanceRules(policy: z.infer<typeof policySchema>, name: InstanceName): Rule[] {
  if (!('described' in name)) return [['instance', policy.instances, nameOf(name)]];
  const { types, instanceProfile, ami } = name.described;
  return [
    ...types.map((type): Rule => ['instance.type', policy.instanceTypes ?? (policy.instances && []), type]),
    ['instance.instanceProfile', policy.instanceProfiles, instanceProfile],
    ['instance.ami', policy.images, ami],
  ];
}

function nameOf(name: NamedInstance): string {
  if ('id' in name) return name.id;
  if ('name' in name) return name.name;
  return Object.entries(name.tag)
    .map((tag) => tag.join('='))
    .join(',');
}

function policyPath(environment: NodeJS.ProcessEnv): string | undefined {
  if (environment.NX_EC2_POLICY) return resolve(environment.NX_EC2_POLICY);
  return [join(homedir(), '.config/nx-ec2/policy.json'), '/etc/nx-ec2/policy.json'].find((path) => existsSync(path));
}

function readPolicy(path: string, workspaceRoot: string): z.infer<typeof policySchema> {
  let value: unknown;
  try {
    const from = relative(realpathSync(workspaceRoot), realpathSync(path));
    if (!from.startsWith('..')) throw new Error('it lies inside the workspace that it is to limit');
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Problem('POLICY', `The policy ${path} can't be used: ${(error as Error).message}.`);
  }
  const result = policySchema.safeParse(value);
  if (!result.success) throw new Problem('POLICY', `The policy ${path} is not valid: ${z.prettifyError(result.error)}`);
  return result.data;
}
