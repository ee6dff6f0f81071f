import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Mortal, mortality } from '../../system/mortal.fixture';
import { until } from '../../system/until.fixture';
import { isScratch } from '../../workspace/scratch';
import { Workshop } from '../lib/executor-harness.fixture';

// Node resolves the name of the built file.
jest.mock('./start-on-launched-instance.js', () => jest.requireActual('./start-on-launched-instance'), {
  virtual: true,
});
jest.mock('./start-in-pool.js', () => jest.requireActual('./start-in-pool'), { virtual: true });
/** What a training prints is what it has read. It also counts how often it was started. */
const TRAINING = `
import os
with open("../starts", "a") as file:
    file.write(open("word").read() + "\\n")
os.makedirs("artifacts/deep", exist_ok=True)
for path in ["artifacts/m", "artifacts/deep/n"]:
    with open(path, "w") as file:
        file.write(open("word").read())
`;

describe('remote-train, killed again and again', () => {
  let shop: Workshop;
  let end: () => Promise<void>;
  beforeAll(async () => {
    shop = await Workshop.open();
    end = await mortality();
  });
  afterAll(async () => {
    await end();
    await shop.close();
  });

  const starts = (word: string) => {
    const file = join(shop.memory, 'starts');
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
    return lines.filter((line) => line === word).length;
  };
  const launched = (test: string) => shop.at.aws.instances.all().filter(({ tags }) => tags.test === test);

  /** Each process does a few more steps than the one before it, until one does all. */
  async function trainAndKill(
    word: string,
    options: object,
    first: number,
    by: number,
    beforeNext?: () => Promise<unknown>,
  ): Promise<string[]> {
    shop.write('model/train.py', TRAINING.replace('../starts', join(shop.memory, 'starts')));
    shop.write('model/word', word);
    const seen = new Set<string>();
    for (let last = first; ; last += by) {
      const process = new Mortal([shop.workspace, shop.memory], last);
      const train = () => shop.run<{ run: string }>('remote-train', { train: { script: 'train.py' }, ...options });
      const result = await process.run(train);
      for (const step of process.steps) seen.add(step.split(' ')[0]);
      if (result === 'killed') {
        await beforeNext?.();
        continue;
      }
      expect(last).toBeGreaterThan(40);
      return [...seen];
    }
  }

  const expectRight = (word: string) => {
    expect(starts(word)).toBe(1);
    for (const path of ['m', 'deep/n'])
      expect(readFileSync(join(shop.workspace, 'model/artifacts', path), 'utf8')).toBe(word);
    const left = readdirSync(join(shop.workspace, 'model')).filter((name) => !isScratch(name));
    expect(left.sort()).toEqual(['artifacts', 'project.json', 'train.py', 'word']);
  };

  it.each([0, 2])('starts one training and ends with its result, from step %d', async (first) => {
    const word = `word-${first}`;
    const seen = await trainAndKill(word, {}, first, 4);
    expect(seen).toEqual(expect.arrayContaining(['call', 'renameSync', 'open', 'write', 'rename']));
    expectRight(word);
  });

  it('launches one instance, which is gone after it', async () => {
    const machine = { type: 't3.micro', instanceProfile: 'training', tags: { test: 'killed' } };
    await trainAndKill('launched', { instance: machine }, 1, 9);
    expectRight('launched');
    expect(launched('killed').map(({ state }) => state)).toEqual(['terminated']);
  });

  it('trains once, even if the instance ends before the next command looks for the run', async () => {
    const machine = { type: 't3.micro', instanceProfile: 'training', tags: { test: 'ended' } };
    await trainAndKill('ended', { instance: machine }, 1, 9, () =>
      until(() => starts('ended') === 0 || launched('ended').some(({ state }) => state === 'terminated')),
    );
    expectRight('ended');
  });

  it('launches no more members of a pool than its size, and trains once', async () => {
    const machine = { type: 't3.micro', instanceProfile: 'training', tags: { test: 'pool' }, pool: 'p', size: 2 };
    await trainAndKill('pool', { instance: machine }, 1, 9);
    expectRight('pool');
    const alive = launched('pool').filter(({ state }) => state !== 'terminated');
    expect(alive.length).toBeGreaterThan(0);
    expect(alive.length).toBeLessThanOrEqual(2);
  });

  it.each([2, '1:2'])('launches nodes together (%s), starts each once, and ends both', async (nodes) => {
    const test = `nodes ${nodes}`;
    const machine = { type: 't3.micro', instanceProfile: 'training', tags: { test } };
    await trainAndKill(test, { instance: machine, nodes }, 1, 3);
    expect(starts(test)).toBe(2);
    expect(launched(test).map(({ state }) => state)).toEqual(['terminated', 'terminated']);
  });
});
