import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TAG } from '../../instance/describe/ownership';
import { LEASE_MS } from '../../run/record/lease';
import { until } from '../../system/until.fixture';
import { Workshop } from '../lib/executor-harness.fixture';

/**
 * Notes when it starts and ends, saves a checkpoint, and stays until the file `go` with its word lies beside the notes, if
 * it has the word `wait`.
 */
const TRAINING = `
import os, time
notes, word, at = NOTES, open("word").read(), os.environ["NX_EC2_CHECKPOINT_DIR"]
def note(what):
    with open(os.path.join(notes, "turns"), "a") as file:
        file.write("%s|%s|%s|%s|%s\\n" % (what, word, os.environ["NX_EC2_ATTEMPT"], time.time(), resumed))
resumed = len(os.listdir(at)) > 0
note("start")
open(os.path.join(at, "step-1"), "w").write("1")
open(os.path.join(at, "step-1.complete"), "w").close()
while "wait" in word and not os.path.exists(os.path.join(notes, "go " + word)):
    time.sleep(0.02)
time.sleep(0.3 if "slow" in word else 0)
os.makedirs("artifacts", exist_ok=True)
open("artifacts/m", "w").write(word)
note("end")
`;

/** What a training has noted. */
export interface Turn {
  what: 'start' | 'end';
  word: string;
  attempt: number;
  at: number;
  /** It has found a checkpoint. */
  resumed: boolean;
}

type Options = { instance?: object } & Record<string, unknown>;

/** Projects of one workspace that train on a pool, against local AWS. Each test has a pool of its own. */
export class PoolShop {
  pool = '';
  private pools = 0;

  private constructor(
    readonly shop: Workshop,
    private readonly name: string,
    private readonly instance: object,
  ) {}

  /** @param instance what the launch specs of all pools have besides a type. */
  static async open(name: string, projects: string[], instance: object): Promise<PoolShop> {
    const shop = await Workshop.open(Object.fromEntries(projects.map((each) => [each, { root: each }])));
    return new PoolShop(shop, name, instance);
  }

  close(): Promise<void> {
    return this.shop.close();
  }

  begin(): void {
    this.pool = `${this.name}-${++this.pools}`;
  }

  end(): void {
    const { aws } = this.shop.at;
    aws.faults.clear();
    for (const each of this.members()) aws.instances.change(each, 'terminated');
  }

  members() {
    const all = this.shop.at.aws.instances.all();
    return all.filter(({ tags, state }) => tags[TAG.project] === `pool:${this.pool}` && state !== 'terminated');
  }

  /** What the trainings of this pool noted. */
  turns(): Turn[] {
    const file = join(this.shop.memory, 'turns');
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];
    return lines.flatMap((line) => {
      const [what, words, attempt, at, resumed] = line.split('|');
      const [pool, ...word] = words.split(' ');
      if (pool !== this.pool) return [];
      const turn = { attempt: Number(attempt), at: Number(at), resumed: resumed === 'True' };
      return { what: what as Turn['what'], word: word.join(' '), ...turn };
    });
  }

  /** The turns without their times, in words. */
  told(): string[] {
    return this.turns().map(({ what, word, attempt, resumed }) =>
      [what, ...(what === 'start' ? [resumed ? 'again' : 'anew'] : []), word, attempt].join(' '),
    );
  }

  async noted(words: RegExp): Promise<void> {
    const what = () => `${words} in ${this.told().join(', ')} ${this.shop.printed}`;
    await until(() => this.told().some((turn) => words.test(turn)), { what });
  }

  started(word: string): boolean {
    return this.turns().some((turn) => turn.what === 'start' && turn.word === word);
  }

  go(word: string): void {
    writeFileSync(join(this.shop.memory, `go ${this.pool} ${word}`), '');
  }

  spec(more: object = {}) {
    return { type: 't3.micro', instanceProfile: 'training', pool: this.pool, size: 2, ...this.instance, ...more };
  }

  /** Trains, or submits. @param more options of the target; `instance` completes the launch spec. */
  run(target: string, project: string, word: string, { instance = {}, ...more }: Options = {}) {
    this.shop.write(`${project}/train.py`, TRAINING.replace('NOTES', JSON.stringify(this.shop.memory)));
    this.shop.write(`${project}/word`, `${this.pool} ${word}`);
    return this.shop.run<{ run: string; instance: string; attempts: number }>(target, {
      project,
      instance: this.spec(instance),
      train: { script: 'train.py', gracePeriod: '5s' },
      ...more,
    });
  }

  /** The objects of the store, by their files. */
  private stored() {
    const directory = join(this.shop.at.directory, 's3/bucket');
    const files = readdirSync(directory).filter((name) => name.endsWith('.json'));
    return files.map((name) => {
      const file = join(directory, name);
      return { file, object: JSON.parse(readFileSync(file, 'utf8')) as { key: string; modified: number } };
    });
  }

  /** How many runs of a member have a record in the store. */
  recorded(id: string): number {
    const runs = join(this.shop.at.aws.instances.disk(id), 'root/runs');
    const ids = existsSync(runs) ? readdirSync(runs) : [];
    const keys = this.stored().map(({ object }) => object.key);
    return ids.filter((each) => keys.some((key) => key.endsWith(`/${each}/record.json`))).length;
  }

  /** Takes a member away without notice, and has the leases of its runs expired. */
  lose({ id }: { id: string }): void {
    const { aws } = this.shop.at;
    aws.instances.change(aws.instances.get(id)!, 'terminated');
    for (const { file, object } of this.stored())
      if (object.key.endsWith('/record.json'))
        writeFileSync(file, JSON.stringify({ ...object, modified: object.modified - LEASE_MS }));
    aws.reread();
  }
}
