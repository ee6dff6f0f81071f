import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Nx } from '../nx';
import type { World } from '../worlds';

/** Twelve steps with a checkpoint each; its argument is the time that one takes, in seconds. */
export const TRAINING = readFileSync(join(__dirname, '../training.py'), 'utf8');
export const STEPS = Array.from({ length: 12 }, (_, index) => index + 1);
export const RESULT = { total: 650, began: 0 };
/** It runs until it is ended. */
export const ENDLESS = 'import time\nprint("begun", flush=True)\nwhile True:\n    time.sleep(0.1)\n';

/** Makes a project on an instance of its own, whose id it gives. */
export function begin(world: World, name: string, script: string, config: { [key: string]: unknown } = {}): string {
  const instance = world.launch();
  world.nx.project(name, script, { bucket: 'nx-ec2-local', instance, ...config });
  return instance;
}

export function artifact(nx: Nx, project: string, path: string): string | null {
  const file = join(nx.workspace, 'models', project, 'artifacts', path);
  return existsSync(file) ? readFileSync(file, 'utf8') : null;
}

export function resultOf(nx: Nx, project: string): unknown {
  return JSON.parse(artifact(nx, project, 'result.json') ?? 'null');
}

/** The commands that an instance was sent. */
export function commandsOf({ aws }: World, instance: string): number {
  return aws.commands.filter((each) => each.instance === instance).length;
}

/** How a run ended, as the store has it. */
export async function outcome(nx: Nx, project: string, run: string): Promise<string | null> {
  const status = await nx.run([`${project}:remote-status`, `--run=${run}`, '--json', '--watch']).ends(0);
  return status.result.runs[0].outcome;
}
