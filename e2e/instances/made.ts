import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../src/system/until.fixture';
import type { World } from '../worlds';
import type { LocalAws } from '../../src/local-aws/types';

export const training = readFileSync(join(__dirname, '../training.py'), 'utf8');
/** What the training results in when nothing has happened to it. */
export const TOTAL = 650;

/** What is written of an instance that is made: the rest is as a user has it who writes nothing more. */
export const described = (more: object = {}) => ({ type: 't3.micro', instanceProfile: 'trainer', ...more });

/** A project of the training above, on an instance that is made. */
export function project(
  { nx }: World,
  name: string,
  instance: object = {},
  train: object = {},
  script = training,
): void {
  nx.project(name, script, { bucket: 'nx-ec2-local', storeAccess: 'role', instance: described(instance), train });
}

export function result({ nx }: World, name: string): { total: number; began: number } {
  return JSON.parse(readFileSync(join(nx.workspace, 'models', name, 'artifacts/result.json'), 'utf8'));
}

/** All instances that were launched for a project. */
export function launchedFor(aws: LocalAws, name: string): ReturnType<LocalAws['instances']['all']> {
  return aws.instances.all().filter(({ tags }) => tags['nx-ec2:project'] === name);
}

/** Those of them that are not gone. */
export function aliveInstances(aws: LocalAws, name: string): string[] {
  return launchedFor(aws, name)
    .filter(({ state }) => state !== 'terminated')
    .map(({ id }) => id);
}

/** Waits until a project has no instance any more. */
export async function gone(aws: LocalAws, name: string): Promise<void> {
  await until(() => aliveInstances(aws, name).length === 0, { what: `the end of ${name}'s instances` });
}
