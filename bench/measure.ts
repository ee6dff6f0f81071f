import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { NetworkProfile } from '../src/local-aws/link/network';
import { run, type Contender, type Timing } from './contenders/contender';
import { OurCourse } from './contenders/ours';
import { Testbed } from './testbed/testbed';
import type { Input, InputName } from './inputs/inputs';
import type { Measure, OtherPlugin, Result, Scenario } from './scenarios/scenario';

export interface Conditions {
  network: NetworkProfile;
  /** Where inputs and instances are made and removed. */
  directory: string;
  /** ms that a contender may take. */
  limit: number;
  /** How often each is measured; the median counts. */
  repeat: number;
  /** How often whole processes are measured in turn. */
  rounds: number;
  /** The input of a scenario in another workspace, or null where --against names no package. */
  makeOther(name: InputName, plugin: OtherPlugin): Input | null;
}

/**
 * Runs one scenario with each contender that it is for, in turn, as often as the conditions say; ours is the first row.
 * What is absent or fails has a row that says so.
 */
export async function measureAll(
  scenario: Scenario,
  contenders: Contender[],
  input: Input,
  conditions: Conditions,
): Promise<Result> {
  const network = scenario.network ?? conditions.network;
  const taking = (scenario.of === 'all' ? contenders : contenders.slice(0, 1)).map((contender) => {
    const missing = contender.missing();
    return { contender, measures: [] as Measure[], failure: missing ? `absent: ${missing}` : undefined };
  });
  for (let time = 0; time < conditions.repeat; time++)
    for (const each of taking)
      if (!each.failure)
        await measureOne(scenario, each.contender, input, { ...conditions, network }).then(
          (measured) => each.measures.push(measured),
          (error: Error) => (each.failure = error.message),
        );
  const rows: Result['rows'] = taking.map(({ contender: { name }, measures, failure }) =>
    failure ? { contender: name, failure } : { contender: name, ...medianOf(measures) },
  );
  for (const [contender, measure] of Object.entries(rows[0].measure?.inTurn ?? {})) rows.push({ contender, measure });
  return { scenario, input: input.title, network, floor: scenario.floor?.(network, input) ?? null, rows };
}

function medianOf(measures: Measure[]): { measure: Measure; times: number[] } {
  const sorted = [...measures].sort((a, b) => a.time - b.time);
  return { measure: sorted[(sorted.length - 1) >> 1], times: measures.map(({ time }) => time) };
}

/** Runs one scenario with one contender, on a testbed of its own, and looks whether the instance's copy is right. */
async function measureOne(
  scenario: Scenario,
  contender: Contender,
  input: Input,
  { network, directory, limit, rounds, makeOther }: Conditions,
): Promise<Measure> {
  const home = join(directory, 'site');
  mkdirSync(join(home, 'own'), { recursive: true });
  const testbed = await Testbed.open(join(home, 'aws'));
  const others: OurCourse[] = [];
  const workspaceWith = (plugin: OtherPlugin) => {
    const other = makeOther(input.name, plugin);
    if (!other) return null;
    const own = join(home, plugin);
    mkdirSync(own);
    const course = new OurCourse({ testbed, input: other, directory: own }, 1);
    others.push(course);
    return { course, input: other };
  };
  try {
    const course = await contender.open({ testbed, input, directory: join(home, 'own') });
    try {
      const signal = AbortSignal.timeout(limit);
      const stage = {
        testbed,
        input,
        network,
        signal,
        rounds,
        workspaceWith,
        measure: (act: () => Promise<Timing>) => observe(testbed, network, act),
      };
      const measured =
        scenario.of === 'all'
          ? await scenario.run({ ...stage, course })
          : await scenario.run({ ...stage, course: course as OurCourse });
      await run('diff', ['-rq', '--no-dereference', '--exclude=ec2.config.json', input.source, course.target()]);
      return measured;
    } catch (error) {
      throw (error as Error).name === 'AbortError' ? new Error(`given up after ${limit / 1000} s`) : error;
    } finally {
      for (const each of [course, ...others]) each.close();
    }
  } finally {
    input.restore();
    await testbed.close();
    rmSync(home, { recursive: true, force: true });
  }
}

async function observe(testbed: Testbed, network: NetworkProfile, act: () => Promise<Timing>): Promise<Measure> {
  await testbed.use(network);
  const { begun, ended, startUp, loading, processor, clientMemory } = await act();
  const { client, requests, commands, instanceProcessor } = await testbed.observe();
  const own = requests.filter(({ link }) => link === 'client');
  const command = own.find(({ action }) => action === 'SendCommand');
  const [first] = commands;
  await testbed.use({});
  return {
    time: ended - begun,
    sent: client.up,
    received: client.down,
    requests: own.length,
    commands: commands.length,
    stored: own
      .filter(({ service, action }) => service === 's3' && (action === 'PUT' || action === 'POST'))
      .reduce((sum, { up }) => sum + up, 0),
    toCommand: command && command.sent - begun,
    onInstance: first?.ended && first.ended - first.started!,
    startUp,
    loading,
    processor: { client: processor, instance: commands.length ? instanceProcessor : undefined },
    clientMemory,
    more: {},
  };
}
