import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GROW } from '../../run/start/grow-nodes';
import { Mortal, mortality } from '../../system/mortal.fixture';
import { until } from '../../system/until.fixture';
import { Workshop } from '../lib/executor-harness.fixture';
import { ELASTIC_TRAINING } from './elastic-training.fixture';

// Node resolves the name of the built file.
jest.mock('./start-on-launched-instance.js', () => jest.requireActual('./start-on-launched-instance'), {
  virtual: true,
});

describe('A training on MIN:MAX nodes whose client is killed again and again', () => {
  let shop: Workshop;
  let end: () => Promise<void>;
  const before = { ...GROW };
  const place = mkdtempSync(join(tmpdir(), 'nx-ec2-grow-'));
  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write('model/train.py', ELASTIC_TRAINING);
    Object.assign(GROW, { poll: 200, retry: 300 });
    end = await mortality();
  });
  beforeEach(() => {
    rmSync(place, { recursive: true });
    mkdirSync(place);
  });
  afterAll(async () => {
    Object.assign(GROW, before);
    await end();
    await shop.close();
    rmSync(place, { recursive: true });
  });

  const launched = (test: string) => shop.at.aws.instances.all().filter(({ tags }) => tags.test === test);
  const settings = (test: string, ends: number, growAfter: string | false) => ({
    instance: { type: 'm5.large', spot: true, instanceProfile: 'training', tags: { test } },
    train: {
      script: 'train.py',
      args: [place, String(ends), test],
      nodes: '1:2',
      environment: 'none',
      gracePeriod: '10s',
      growAfter,
    },
  });

  /** Each command does a few more steps than the one before it, until one ends with the training. */
  async function followAndKill(options: object): Promise<{ attempts: number; kills: number }> {
    for (let last = 5, kills = 0; ; last += 7, kills++) {
      const process = new Mortal([shop.workspace, shop.memory], last);
      const result = await process.run(() => shop.run<{ attempts: number }>('remote-train', options));
      if (result !== 'killed') return { attempts: result.attempts, kills };
    }
  }

  const trains = () => until(() => existsSync(join(place, 'trains-1-0')));

  it('gets what it lacks once, and succeeds on all', async () => {
    const options = settings('grows', 2, '1s');
    shop.at.aws.capacity.add({ instances: 1, type: 'm5.large' });
    await shop.run('remote-submit', options);
    await trains();
    shop.at.aws.capacity.clear();
    const { attempts, kills } = await followAndKill(options);
    expect(attempts).toBe(2);
    expect(kills).toBeGreaterThan(5);
    expect(launched('grows').map(({ state }) => state)).toEqual(['terminated', 'terminated']);
  });

  it('continues on those that are left after a loss, and launches none', async () => {
    const options = settings('shrinks', 3, false);
    await shop.run('remote-submit', options);
    await trains();
    shop.at.aws.interrupt(launched('shrinks')[0].id);
    // Else the attempt could end by itself before it is told to.
    await until(() => [0, 1].every((rank) => existsSync(join(place, `told-1-${rank}`))));
    writeFileSync(join(place, 'end'), '');
    const { attempts, kills } = await followAndKill(options);
    expect(attempts).toBe(2);
    expect(kills).toBeGreaterThan(5);
    expect(launched('shrinks').map(({ state }) => state)).toEqual(['terminated', 'terminated']);
  });
});
