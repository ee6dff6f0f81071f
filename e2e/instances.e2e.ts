import { shutdownRules } from './instances/shutdown-rules';
import { launched } from './instances/launched';
import { NOTHING_LEFT } from '../src/local-aws/local-aws.fixture';
import { spot } from './instances/spot';
import { Worlds, type World } from './worlds';

const worlds = new Worlds('instances');
let world: World;

beforeAll(async () => {
  worlds.install();
  // As EC2 is: a new instance takes its time, and is not seen at once.
  world = await worlds.make([], { boot: 1_500, transition: 500, unseen: 500 });
});

afterAll(() => worlds.close());

describe('instances that are made when they are needed', () => {
  const here = () => ({ ...world, nx: worlds.machine(world.aws, worlds.workspace) });
  describe('launched', () => launched(here));
  describe('with shutdown rules', () => shutdownRules(here));
  describe('spot', () => spot(here));

  it('leave nothing behind', () => expect(world.aws.left()).toEqual(NOTHING_LEFT));
});
