import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../src/system/until.fixture';
import { NOTHING_LEFT } from '../src/local-aws/local-aws.fixture';
import { Random } from './scenarios/random';
import { imagine, live } from './scenarios/scenario';
import { Worlds, type World } from './worlds';

/** How many, and how many at a time. The same ones in each run; NX_EC2_SEED chooses others. */
const SCENARIOS = Number(process.env.NX_EC2_SCENARIOS ?? 100);
const CONCURRENCY = 6;
const seed = Number(process.env.NX_EC2_SEED ?? 20_261_130);

const worlds = new Worlds('scenarios');
let world: World;

beforeAll(async () => {
  worlds.install();
  world = await worlds.make([], { boot: 500, transition: 200, unseen: 500 });
});

afterAll(() => worlds.close());

it(`${SCENARIOS} projects whose targets are killed and started again at random leave no resource (seed ${seed})`, async () => {
  const { aws } = world;
  // A project never has two instances that live, but for one that an interruption is taking away.
  const twice: string[] = [];
  aws.instances.watchers.push(({ tags }, event) => {
    if (event !== 'launched') return;
    const there = aws.instances
      .all()
      .filter((each) => each.tags['nx-ec2:project'] === tags['nx-ec2:project'] && each.state !== 'terminated');
    if (there.length > 1) twice.push(`${tags['nx-ec2:project']}: ${there.map(({ id }) => id).join(', ')}`);
  });
  const failures: string[] = [];
  const waiting = Array.from({ length: SCENARIOS }, (_, index) => index);
  await Promise.all(
    Array.from({ length: CONCURRENCY }, async () => {
      const memory = mkdtempSync(join(worlds.directory, 'memory-'));
      const environment = {
        ...process.env,
        ...aws.environment,
        NX_DAEMON: 'false',
        NX_WORKSPACE_ROOT_PATH: world.nx.workspace,
        NX_WORKSPACE_DATA_DIRECTORY: join(memory, 'data'),
        NX_EC2_CACHE_DIRECTORY: join(memory, 'ours'),
      };
      for (let index; (index = waiting.shift()) !== undefined;) {
        const scenario = imagine(`life-${index}`, new Random(seed + index));
        await live(world, environment, scenario).catch((error: Error) =>
          failures.push(`${JSON.stringify(scenario)}: ${error.message}`),
        );
      }
    }),
  );
  expect(failures).toEqual([]);
  expect(twice).toEqual([]);
  await until(() => Object.values(aws.left()).every((each) => each.length === 0), {
    what: () => `nothing being left: ${JSON.stringify(aws.left())}`,
    seconds: 600,
  });
  expect(aws.left()).toEqual(NOTHING_LEFT);
});
