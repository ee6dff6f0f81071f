import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { NOTHING_LEFT } from '../../local-aws/local-aws.fixture';
import { until } from '../../system/until.fixture';
import { Workshop } from '../lib/executor-harness.fixture';

// Node resolves the name of the built file.
jest.mock('./start-with-fleet.js', () => jest.requireActual('./start-with-fleet'), { virtual: true });

const TRAINING = `
import os, time
rank, count = int(os.environ["NODE_RANK"]), int(os.environ["NX_EC2_NUM_NODES"])
os.makedirs("artifacts", exist_ok=True)
open("artifacts/of-%d" % rank, "w").write(str(count))
print("node %d of %d" % (rank, count), flush=True)
time.sleep(float(open("seconds").read()))
`;

describe('A training on several nodes with fleets', () => {
  let shop: Workshop;
  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write('model/train.py', TRAINING);
  });
  afterAll(() => shop.close());

  const instance = {
    type: ['m5.large', 'c5.xlarge'],
    instanceProfile: 'training',
    spot: true,
    recovery: 'fleet',
    onFinish: { success: 'terminate', failure: 'terminate' },
  };
  const options = { instance, train: { script: 'train.py', nodes: 2, environment: 'none' } };
  const others = () => ({ ...NOTHING_LEFT, instances: expect.anything(), volumes: expect.anything() });

  it('is followed, brings the results of all, and leaves nothing', async () => {
    shop.write('model/seconds', '0');
    const { run } = await shop.run<{ run: string }>('remote-train', options);
    expect(shop.printed).toMatch(/The 2 nodes are launched as \S+ \(spot\) in \S+\.\n/);
    expect(shop.printed).toMatch(
      /2 fleets were created, one for each node \(fleet-\S+, fleet-\S+\): they run \S+ without/,
    );
    expect(shop.printed).toContain('node 0 of 2\n');
    expect(shop.printed).toMatch(/The fleet of \S+ and its instances are gone\./);
    for (const rank of [0, 1]) expect(existsSync(join(shop.workspace, `model/artifacts/of-${rank}`))).toBe(true);
    expect(shop.at.aws.left()).toEqual(others());
    await shop.run('remote-status', { run, ...options });
    expect(shop.printed).toMatch(/^1 +succeeded +i-\w+ +127/m);
  });

  it('is submitted, shown and cancelled by other commands', async () => {
    shop.write('model/seconds', '600');
    const { run } = await shop.run<{ run: string }>('remote-submit', options);
    await until(
      async () => {
        await shop.run('remote-status', { run, ...options });
        return /^1 +running .* i-\w+ +127/m.test(shop.printed);
      },
      { what: () => shop.printed },
    );
    await shop.run('remote-cancel', { run, ...options });
    expect(shop.printed).toMatch(/was cancelled/);
    await until(() => shop.at.aws.left().fleets.length === 0 && shop.at.aws.left().launchTemplates.length === 0);
  });

  it('is taken down with its fleets', async () => {
    shop.write('model/seconds', '601');
    await shop.run<{ run: string }>('remote-submit', options);
    await expect(shop.run('remote-down', options)).rejects.toThrow(/A run is still active/);
    await shop.run('remote-down', { ...options, force: true });
    expect(shop.at.aws.left()).toMatchObject({ fleets: [], launchTemplates: [], spotRequests: [] });
  });
});
