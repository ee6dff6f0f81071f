import { mkdtempSync, rmSync, writeFileSync, existsSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GROW } from '../../run/start/grow-nodes';
import { until } from '../../system/until.fixture';
import { Workshop } from '../lib/executor-harness.fixture';
import { ELASTIC_TRAINING } from './elastic-training.fixture';

// Node resolves the name of the built file.
jest.mock('./start-on-launched-instance.js', () => jest.requireActual('./start-on-launched-instance'), {
  virtual: true,
});

/** Waits on instances that are added to others, as long as the directory that it gets has a file `hold`. */
const SETUP = `
import os, sys, time
place, here = sys.argv[1], os.path.abspath(__file__).split("/instances/")[1].split("/")[0]
open(os.path.join(place, here), "w").close()
while os.path.exists(os.path.join(place, "hold")) and any(name.startswith("trains") for name in os.listdir(place)):
    time.sleep(0.05)
`;

describe('A training on MIN:MAX nodes that trains on fewer than MAX', () => {
  let shop: Workshop;
  const before = { ...GROW };
  const place = mkdtempSync(join(tmpdir(), 'nx-ec2-grow-'));
  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write('model/train.py', ELASTIC_TRAINING);
    shop.write('model/setup.py', SETUP);
    Object.assign(GROW, { poll: 200, retry: 300 });
  });
  beforeEach(() => {
    rmSync(place, { recursive: true });
    mkdirSync(place);
  });
  afterEach(() => shop.at.aws.capacity.clear());
  afterAll(async () => {
    Object.assign(GROW, before);
    await shop.close();
    rmSync(place, { recursive: true });
  });

  const launched = (test: string) => shop.at.aws.instances.all().filter(({ tags }) => tags.test === test);
  const states = (test: string) => launched(test).map(({ state }) => state);
  const settings = (test: string, nodes: string, ends: number) => ({
    instance: {
      type: 'm5.large',
      spot: true,
      instanceProfile: 'training',
      tags: { test },
      onFinish: { failure: 'terminate' },
    },
    train: {
      script: 'train.py',
      args: [place, String(ends), test],
      nodes,
      growAfter: '1s',
      setup: `python3 setup.py ${place}`,
      gracePeriod: '10s',
    },
  });
  const train = (test: string, nodes: string, ends: number) =>
    shop.run<{ run: string; attempts: number }>('remote-train', settings(test, nodes, ends));
  const hold = () => writeFileSync(join(place, 'hold'), '');
  const release = () => rmSync(join(place, 'hold'));
  /** As many instances as there are set their environment up, or have. */
  const isPreparing = (test: string, count: number) =>
    until(() => launched(test).length === count && launched(test).every(({ id }) => existsSync(join(place, id))));
  const noMoreThan = (instances: number) => shop.at.aws.capacity.add({ instances, type: 'm5.large' });

  it('gets the others when EC2 has them, and resumes on all', async () => {
    noMoreThan(1);
    const training = train('start', '1:3', 3);
    await shop.says(/node 0 of 1, attempt 1, from step 0/);
    await shop.says(/gets no more nodes yet, which is tried again: EC2 has no capacity/);
    shop.at.aws.capacity.clear();
    const { attempts } = await training;
    expect(attempts).toBe(2);
    expect(shop.printed.match(/gets no more nodes yet/g)).toHaveLength(1);
    expect(shop.printed).toMatch(/i-\w+, i-\w+ are being prepared while \S+ trains on 1 of 1:3 nodes\./);
    expect(shop.printed).toMatch(/are ready: attempt 1 of \S+ saves and ends, and the next one begins on 3 nodes\./);
    expect(shop.printed).toMatch(/node 0 of 3, attempt 2, from step 1/);
    expect(states('start')).toEqual(['terminated', 'terminated', 'terminated']);
    expect(launched('start').map(({ tags }) => tags['nx-ec2:deadline'])).toEqual(
      launched('start').map(() => launched('start')[0].tags['nx-ec2:deadline']),
    );
  });

  it('continues on those that are left after a loss, and on all when a replacement is ready', async () => {
    const training = train('loss', '1:2', 3);
    await shop.says(/node 0 of 2, attempt 1/);
    noMoreThan(0);
    shop.at.aws.interrupt(launched('loss')[1].id);
    await shop.says(/node 0 of 1, attempt 2/);
    await shop.says(/gets no more nodes yet/);
    shop.at.aws.capacity.clear();
    await shop.says(/node 0 of 2, attempt 3/);
    writeFileSync(join(place, 'end'), '');
    expect((await training).attempts).toBe(3);
    expect(launched('loss')).toHaveLength(3);
    expect(new Set(states('loss'))).toEqual(new Set(['terminated']));
  });

  it('is not interrupted if a new node is lost while it is prepared', async () => {
    hold();
    noMoreThan(1);
    const training = train('unprepared', '1:2', 2);
    await shop.says(/node 0 of 1, attempt 1/);
    shop.at.aws.capacity.clear();
    await isPreparing('unprepared', 2);
    shop.at.aws.interrupt(launched('unprepared')[1].id);
    await shop.says(/can't become node 1 of \S+: it was interrupted.*The training continues without it\./);
    release();
    expect((await training).attempts).toBe(2);
    expect(shop.printed).toMatch(/node 0 of 2, attempt 2, from step/);
    expect(launched('unprepared')).toHaveLength(3);
    expect(new Set(states('unprepared'))).toEqual(new Set(['terminated']));
  });

  it('terminates a node that is not ready when the training ends, and shows it until then', async () => {
    hold();
    noMoreThan(1);
    const training = train('end', '1:2', 3);
    await shop.says(/node 0 of 1, attempt 1/);
    shop.at.aws.capacity.clear();
    await isPreparing('end', 2);
    writeFileSync(join(place, 'end'), '');
    const { run, attempts } = await training;
    expect(attempts).toBe(1);
    expect(shop.printed).toMatch(/Terminating i-\w+: it was launched as one more node of \S+, and is not needed\./);
    expect(states('end')).toEqual(['terminated', 'terminated']);
    await shop.run('remote-status', { run, ...settings('end', '1:2', 3) });
    expect(shop.printed).toMatch(/\nnodes +1 of 1:2\n/);
  });

  it('is cancelled with the node that is being prepared, which remote-status shows', async () => {
    hold();
    noMoreThan(1);
    const training = train('cancel', '1:2', 3).catch((error: Error) => error.message);
    await shop.says(/node 0 of 1, attempt 1/);
    const [, run] = /Training (\S+) started/.exec(shop.printed)!;
    shop.at.aws.capacity.clear();
    await isPreparing('cancel', 2);
    const options = { run, ...settings('cancel', '1:2', 3) };
    await until(async () => {
      await shop.run('remote-status', options);
      return /^1 +being prepared .* i-\w+/m.test(shop.printed);
    });
    await shop.run('remote-cancel', options);
    expect(await training).toMatch(/RUN_CANCELLED/);
    expect(states('cancel')).toEqual(['terminated', 'terminated']);
  });

  it('launches what is missing once if two commands follow it', async () => {
    noMoreThan(1);
    const both = [train('twice', '1:2', 2), train('twice', '1:2', 2)];
    await shop.says(/node 0 of 1, attempt 1/);
    shop.at.aws.capacity.clear();
    const [one, other] = await Promise.all(both);
    expect(one.run).toBe(other.run);
    expect(one.attempts).toBe(2);
    expect(launched('twice')).toHaveLength(2);
    expect(new Set(states('twice'))).toEqual(new Set(['terminated']));
  });
});
