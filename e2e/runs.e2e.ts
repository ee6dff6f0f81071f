import { Worlds, type World } from './worlds';
import { alone } from './runs/alone';
import { exec } from './runs/exec';
import { files } from './runs/files';
import { frameworks } from './runs/frameworks';
import { signals } from './runs/signals';
import { many } from './runs/many';
import { secrets } from './runs/secrets';
import { ssh } from './runs/ssh';
import { users, COLLEAGUE } from './runs/users';

const worlds = new Worlds('runs');
let world: World;
let copy: string;

beforeAll(async () => {
  worlds.install();
  copy = worlds.copy();
  world = await worlds.make([COLLEAGUE]);
});

afterAll(() => worlds.close());

describe('runs, as they are typed', () => {
  // Each with a memory of its own: Nx takes the graph that another of its processes is making, which may lack a new project.
  const here = () => ({ ...world, nx: worlds.machine(world.aws, worlds.workspace) });
  many(here);
  alone(here);
  users(here, () => worlds.machine(world.aws, copy, COLLEAGUE.environment));
  signals(here);
  files(here);
  frameworks(here);
  secrets(here);
  exec(here);
  ssh(here);
});
