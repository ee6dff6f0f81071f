import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { NetworkProfile } from '../src/local-aws/link/network';
import { run, type Contender, type Timing } from './contenders/contender';
import type { OurCourse } from './contenders/ours';
import { Testbed } from './testbed/testbed';
import type { Input } from './inputs/inputs';
import type { Measure, Result, Scenario } from './scenarios/scenario';

export interface Conditions {
  network: NetworkProfile;
  /** Where inputs and instances are made and removed. */
  directory: string;
  /** ms that a contender may take. */
  limit: number;
  /** How often each is measured; the median counts. */
  repeat: number;
}

async function measureRow(
  scenario: Scenario,
  contender: Contender,
  input: Input,
  conditions: Conditions,
): Promise<{ measure: Measure; times: number[] }> {
  const measures: Measure[] = [];
  while (measures.length < conditions.repeat) measures.push(await measureOne(scenario, contender, input, conditions));
  measures.sort((a, b) => a.time - b.time);
  return { measure: measures[(measures.length - 1) >> 1], times: measures.map(({ time }) => time) };
}

/** Runs one scenario with each contender that it is for, ours first. What is absent or fails has a row that says so. */
export async function measureAll(
  scenario: Scenario,
  contenders: Contender[],
  input: Input,
  conditions: Conditions,
): Promise<Result> {
  const network = scenario.network ?? conditions.network;
  const rows: Result['rows'] = [];
  for (const contender of scenario.of === 'all' ? contenders : contenders.slice(0, 1)) {
    const missing = contender.missing();
    rows.push(
      missing
        ? { contender: contender.name, failure: `absent: ${missing}` }
        : await measureRow(scenario, contender, input, { ...conditions, network }).then(
            (measured) => ({ contender: contender.name, ...measured }),
            (error: Error) => ({ contender: contender.name, failure: error.message }),
          ),
    );
  }
  return { scenario, input: input.title, network, floor: scenario.floor?.(network, input) ?? null, rows };
}

/** Runs one scenario with one contender, on a testbed of its own, and looks whether the instance's copy is right. */
async function measureOne(
  scenario: Scenario,
  contender: Contender,
  input: Input,
  { network, directory, limit }: Conditions,
): Promise<Measure> {
  const home = join(directory, 'site');
  mkdirSync(join(home, 'own'), { recursive: true });
  const testbed = await Testbed.open(join(home, 'aws'));
  try {
    const course = await contender.open({ testbed, input, directory: join(home, 'own') });
    try {
      const signal = AbortSignal.timeout(limit);
      const stage = {
        testbed,
        input,
        network,
        signal,
        measure: (act: () => Promise<Timing>) => observe(testbed, network, act),
      };
      const measured =
        scenario.of === 'all'
          ? await scenario.run({ ...stage, course })
          : await scenario.run({ ...stage, course: course as OurCourse });
      await run('diff', ['-rq', '--no-dereference', input.source, course.target()]);
      return measured;
    } catch (error) {
      throw (error as Error).name === 'AbortError' ? new Error(`given up after ${limit / 1000} s`) : error;
    } finally {
      course.close();
    }
  } finally {
    input.restore();
    await testbed.close();
    rmSync(home, { recursive: true, force: true });
  }
}

async function observe(testbed: Testbed, network: NetworkProfile, act: () => Promise<Timing>): Promise<Measure> {
  await testbed.use(network);
  const { begun, ended, startUp, clientMemory } = await act();
  const { client, requests, commands } = await testbed.observe();
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
    clientMemory,
    more: {},
  };
}
