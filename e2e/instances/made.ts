import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LocalAws } from '../../src/local-aws/server';
import type { World } from '../worlds';

export const training = readFileSync(join(__dirname, '../training.py'), 'utf8');
/** What the training results in when nothing has happened to it. */
export const TOTAL = 650;
export const NOTHING = { instances: [], volumes: [], spotRequests: [], fleets: [], launchTemplates: [] };

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

/** The instances that were ever made for a project. */
export function madeFor(aws: LocalAws, name: string): ReturnType<LocalAws['instances']['all']> {
  return aws.instances.all().filter(({ tags }) => tags['nx-ec2:project'] === name);
}

/** Those of them that are not gone. */
export function living(aws: LocalAws, name: string): string[] {
  return madeFor(aws, name)
    .filter(({ state }) => state !== 'terminated')
    .map(({ id }) => id);
}

export async function until(holds: () => boolean, seconds = 60, what = 'it', pause = 50): Promise<void> {
  for (const end = Date.now() + seconds * 1000; !holds();) {
    if (Date.now() > end) throw new Error(`${what} did not come to be within ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** Waits until a project has no instance any more. */
export function gone(aws: LocalAws, name: string, seconds = 60): Promise<void> {
  return until(() => living(aws, name).length === 0, seconds, `the end of ${name}'s instances`);
}
