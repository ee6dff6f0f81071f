import { newRunId } from '../run/record/run-id';
import { clean } from './clean';
import { InventoryFixture, MINUTE, printed } from './made.fixture';

const HOUR = 60 * MINUTE;

/** What killed clients and lost nodes have left of runs on three nodes, each of which has a fleet. */
describe('nx-ec2 instances clean, after runs on several nodes', () => {
  let made: InventoryFixture;
  /** Names that tell runs apart. */
  const runs = { active: '', unknown: '', ended: '' };
  type Name = keyof typeof runs;
  const deadline = Date.now() + 4 * HOUR;

  beforeAll(async () => {
    made = await InventoryFixture.start();
    for (const name of Object.keys(runs) as Name[]) {
      runs[name] = newRunId('model', new Date(Date.now() - 2.5 * HOUR));
      const tags = { run: runs[name], finish: 'terminate 0 0', deadline: String(deadline) };
      await made.template(name, made.tags(tags));
      for (const node of ['0', '1', '2']) {
        // The client of one was killed before its last fleet; the last node of another gets no capacity.
        if (name === 'unknown' && node === '2') continue;
        if (name === 'ended' && node === '2') made.at.aws.capacity.add({ market: 'spot' });
        await made.fleet(name, made.tags({ ...tags, node }));
      }
    }
    await made.age(3 * HOUR + 5_000);
    made.at.aws.capacity.add({ market: 'spot' });
    const over = { state: 'ended' as const, startedAt: 1, createdAt: 1, endedAt: Date.now() - 2 * HOUR };
    await made.tell({ ...over, id: runs.ended, outcome: 'failed', exitCode: 1, instance: of('ended')[0] });
    const on = { state: 'running' as const, startedAt: 1, createdAt: 1, outcome: null, endedAt: null };
    await made.tell({ ...on, id: runs.active, instance: of('active')[0] });
    for (const { id } of made.at.aws.instances.all()) made.watchdog(id);
  });
  afterAll(() => made.close());

  const of = (name: Name) =>
    made.at.aws.instances
      .all()
      .filter(({ tags, state }) => tags['nx-ec2:run'] === runs[name] && state === 'running')
      .map(({ id }) => id);
  const fleets = () => made.at.aws.left().fleets.length;
  const apply = async () => {
    const options = { bucket: 'bucket', prefix: 'team', apply: true };
    const { out, error } = await printed((printer) => clean(options, printer));
    expect({ out, error }).toMatchObject({ error: null });
    return out;
  };

  it('ends the fleets and instances of all nodes of a run that has ended, and none of one that is active', async () => {
    expect([fleets(), of('ended').length, of('active').length, of('unknown').length]).toEqual([8, 2, 3, 2]);
    await apply();
    expect([of('ended').length, of('active').length]).toEqual([0, 3]);
    // Nobody can say that nothing runs for a fleet without an instance: it is kept to its deadline.
    expect(fleets()).toBe(3 + 1 + (of('unknown').length && 2));
  });

  it('leaves nothing of them after their deadline', async () => {
    await made.age(25 * HOUR, (file, rows) => {
      if (file === 'fleets')
        for (const { tags } of Object.values(rows) as { tags: Record<string, string> }[])
          tags['nx-ec2:deadline'] = String(Date.now() - HOUR);
    });
    made.at.aws.capacity.add({ market: 'spot' });
    await made.tell({
      id: runs.active,
      instance: of('active')[0],
      state: 'ended',
      outcome: 'failed',
      exitCode: 1,
      startedAt: 1,
      createdAt: 1,
      endedAt: Date.now() - HOUR,
    });
    await apply();
    expect(made.at.aws.left()).toMatchObject({ fleets: [], instances: [], launchTemplates: [] });
  });
});
