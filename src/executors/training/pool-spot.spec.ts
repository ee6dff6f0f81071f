import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TAG } from '../../instance/describe/ownership';
import { LEASE_MS } from '../../run/record/lease';
import { until } from '../../system/until.fixture';
import { Workshop } from '../lib/executor-harness.fixture';

// Node resolves the name of the built file.
jest.mock('./start-in-pool.js', () => jest.requireActual('./start-in-pool'), { virtual: true });

/** Saves a checkpoint, and stays until the file `go` with its word lies beside the notes, if it has the word `wait`. */
const TRAINING = `
import os, time
notes, word, at = NOTES, open("word").read(), os.environ["NX_EC2_CHECKPOINT_DIR"]
def note(what):
    with open(os.path.join(notes, "turns"), "a") as file:
        file.write("%s %s %s\\n" % (what, word, os.environ["NX_EC2_ATTEMPT"]))
note("start " + ("again" if os.listdir(at) else "anew"))
open(os.path.join(at, "step-1"), "w").write("1")
open(os.path.join(at, "step-1.complete"), "w").close()
while "wait" in word and not os.path.exists(os.path.join(notes, "go " + word)):
    time.sleep(0.02)
os.makedirs("artifacts", exist_ok=True)
open("artifacts/m", "w").write(word)
note("end")
`;
const NAMES = ['a', 'b', 'c', 'd'];

describe('a pool of spot instances', () => {
  let shop: Workshop;
  let pools = 0;
  let pool: string;
  beforeAll(async () => {
    shop = await Workshop.open(Object.fromEntries(NAMES.map((name) => [name, { root: name }])));
  });
  beforeEach(() => (pool = `spot-${++pools}`));
  afterEach(() => {
    shop.at.aws.faults.clear();
    for (const each of members()) shop.at.aws.instances.change(each, 'terminated');
  });
  afterAll(() => shop.close());

  const all = () => shop.at.aws.instances.all().filter(({ tags }) => tags[TAG.project] === `pool:${pool}`);
  const members = () => all().filter(({ state }) => state !== 'terminated');
  /** What the trainings of this pool noted, without its name. */
  const turns = (): string[] => {
    const file = join(shop.memory, 'turns');
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
    return lines.filter((line) => line.includes(` ${pool} `)).map((line) => line.replace(`${pool} `, ''));
  };
  const noted = (words: RegExp) =>
    until(() => turns().some((turn) => words.test(turn)), { what: () => `${words} in ${turns()} ${shop.printed}` });
  const go = (word: string) => writeFileSync(join(shop.memory, `go ${pool} ${word}`), '');
  const spec = (more: object = {}) => ({
    type: 't3.micro',
    instanceProfile: 'training',
    spot: true,
    pool,
    size: 1,
    ...more,
  });
  /** The objects of the store, by their files. */
  const stored = () => {
    const directory = join(shop.at.directory, 's3/bucket');
    const files = readdirSync(directory).filter((name) => name.endsWith('.json'));
    return files.map((name) => {
      const file = join(directory, name);
      return { file, object: JSON.parse(readFileSync(file, 'utf8')) as { key: string; modified: number } };
    });
  };
  /** How many runs of a member have a record in the store. */
  const recorded = (id: string) => {
    const runs = join(shop.at.aws.instances.disk(id), 'root/runs');
    const ids = existsSync(runs) ? readdirSync(runs) : [];
    const keys = stored().map(({ object }) => object.key);
    return ids.filter((each) => keys.some((key) => key.endsWith(`/${each}/record.json`))).length;
  };
  const run = (
    target: string,
    project: string,
    word: string,
    { instance = {}, ...more }: { instance?: object } & Record<string, unknown> = {},
  ) => {
    shop.write(`${project}/train.py`, TRAINING.replace('NOTES', JSON.stringify(shop.memory)));
    shop.write(`${project}/word`, `${pool} ${word}`);
    return shop.run<{ run: string; instance: string; attempts: number }>(target, {
      project,
      instance: spec(instance),
      train: { script: 'train.py', gracePeriod: '5s' },
      ...more,
    });
  };
  /** Takes a member away without notice, and has the leases of its runs expired. */
  const lose = ({ id }: { id: string }) => {
    shop.at.aws.instances.change(shop.at.aws.instances.get(id)!, 'terminated');
    for (const { file, object } of stored())
      if (object.key.endsWith('/record.json'))
        writeFileSync(file, JSON.stringify({ ...object, modified: object.modified - LEASE_MS }));
    shop.at.aws.reread();
  };

  it('continues a run on another member after a notice, from its checkpoint, with the client that follows it', async () => {
    const training = run('remote-train', 'a', 'wait');
    await noted(/^start anew wait 1/);
    shop.at.aws.interrupt(members()[0].id);
    await noted(/^start again wait 2/);
    go('wait');
    expect(await training).toMatchObject({ attempts: 2 });
    expect(members()).toHaveLength(1);
    expect(turns()).toEqual(['start anew wait 1', 'start again wait 2', 'end wait 2']);
  });

  it('continues a run that trained and those that waited on another member, after a loss without notice', async () => {
    const trains = run('remote-train', 'a', 'wait');
    await noted(/^start anew wait 1/);
    const [member] = members();
    const others = ['b', 'c'].map((project) => run('remote-train', project, `of ${project}`));
    await until(() => recorded(member.id) === 3);
    lose(member);
    await noted(/^start again wait 2/);
    go('wait');
    await Promise.all([trains, ...others]);
    const ends = turns().filter((turn) => turn.startsWith('end'));
    expect(ends.map((turn) => turn.slice(0, -2)).sort()).toEqual(['end of b', 'end of c', 'end wait']);
    expect(turns().filter((turn) => /^start .* [23]$/.test(turn))).toHaveLength(3);
    expect(members()).toHaveLength(1);
  });

  it('continues a run without a client when the same command is run again', async () => {
    const { run: id } = await run('remote-submit', 'a', 'wait');
    await noted(/^start anew wait 1/);
    shop.at.aws.interrupt(members()[0].id);
    await until(async () => {
      const { runs } = await shop.run<{ runs: { state: string }[] }>('remote-status', {
        project: 'a',
        instance: spec(),
        run: id,
      });
      return runs[0].state === 'ended';
    });
    expect(shop.printed).toMatch(/run the same command to resume it on another instance/);
    go('wait');
    expect(await run('remote-train', 'a', 'wait')).toMatchObject({ run: id, attempts: 2 });
    expect(turns()).toEqual(['start anew wait 1', 'start again wait 2', 'end wait 2']);
  });
});
