import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { SentFiles } from '../../project/sent-files';
import { Store } from '../../store/store';
import { Workshop } from '../lib/executor-harness.fixture';

/** What the run leaves, and what git tracks. `conf/other.json` is not written by the run. */
const SCRIPT = [
  'import os',
  'def write(path, text):',
  '    os.makedirs(os.path.dirname(path), exist_ok=True)',
  '    open(path, "w").write(text)',
  'write("conf/params.json", "of the run")',
  'write("conf/package.json", "of the run")',
  'write("out/r", "of the run")',
  'write("out/package.json", "{}")',
  'write("artifacts/m", "of the run")',
  'write("stays/big", "of the run" * 10)',
  'print("trained")',
].join('\n');

const TRAIN = {
  script: 'train.py',
  outputs: ['conf/', 'out/', { path: 'stays/', download: false }],
};

/** When the workspace changes. */
type Moment = 'before' | 'before they are compared' | 'while they are fetched' | 'after they were written';
const MOMENTS: Moment[] = ['before', 'before they are compared', 'while they are fetched', 'after they were written'];

// One training: each command finds its run and downloads its results again, in a clean checkout.
describe('outputs that Nx caches', () => {
  let shop: Workshop;
  let run: string;
  /** Until the next one. */
  let endChanges: () => void = () => undefined;
  /** What a first run leaves in a clean checkout. */
  let first: Record<string, string>;

  const at = (path: string) => join(shop.workspace, 'model', path);
  const write = (path: string, content = 'an edit') => shop.write(join('model', path), content);
  const git = (...args: string[]) => execFileSync('git', args, { cwd: shop.workspace, stdio: 'pipe' });
  const link = (path: string, target = '/etc/hostname') => {
    rmSync(at(path), { recursive: true, force: true });
    symlinkSync(target, at(path));
  };
  const restore = () => {
    for (const path of ['conf', 'out', 'artifacts', 'stays']) rmSync(at(path), { recursive: true, force: true });
    git('reset', '-q', '--hard');
  };
  const train = (cache = true) =>
    shop.run<{ run: string; artifacts: { heldBack: unknown[] } }>('remote-train', { train: TRAIN, cache });

  /** Every file and link in the outputs. */
  const contents = (): Record<string, string> => {
    const found: Record<string, string> = {};
    const add = (path: string) => {
      const stat = lstatSync(at(path), { throwIfNoEntry: false });
      if (stat?.isDirectory()) for (const name of readdirSync(at(path))) add(`${path}/${name}`);
      else if (stat?.isSymbolicLink()) found[path] = `link to ${readlinkSync(at(path))}`;
      else if (stat) found[path] = `${stat.mode & 0o100 ? 'x ' : ''}${readFileSync(at(path), 'utf8')}`;
    };
    for (const path of ['conf', 'out', 'artifacts', 'stays']) add(path);
    // It says what is downloaded each time.
    delete found['artifacts/.nx-ec2.json'];
    return found;
  };

  /** Changes the workspace at a moment of the next command. @returns whether that moment came. */
  const when = (moment: Moment, act: () => void) => {
    let isDone = false;
    const once = () => {
      if (!isDone) act();
      isDone = true;
    };
    const get = Store.prototype.getWithETag;
    const entries = SentFiles.prototype.entries;
    const spies = [
      jest.spyOn(Store.prototype, 'getWithETag').mockImplementation(async function (this: Store, ...args) {
        if (moment === 'before they are compared' && args[0].endsWith('/artifacts.json')) once();
        if (moment === 'while they are fetched' && args[0].includes('/part/')) once();
        return get.apply(this, args);
      }),
      jest.spyOn(SentFiles.prototype, 'entries').mockImplementation(async function (this: SentFiles) {
        if (moment === 'after they were written' && existsSync(at('artifacts/.nx-ec2.json'))) once();
        return entries.call(this);
      }),
    ];
    endChanges = () => spies.forEach((each) => each.mockRestore());
    if (moment === 'before') once();
    return () => isDone;
  };

  /** The paths that the message names, and why. */
  const named = () =>
    new Map(
      [...shop.printed.matchAll(/^ {2}(\S+): (it .*|git .*|what .*|the .*)$/gm)].map(([, path, why]) => [path, why]),
    );
  /** Does what the message says. */
  const undo = () => {
    const pathsAfter = (words: string) =>
      new RegExp(`^${words}.*: (.*)$`, 'm').exec(shop.printed)?.[1].split(', ') ?? [];
    const untrack = pathsAfter('Remove from git');
    if (untrack.length > 0) git('rm', '-q', '--cached', ...untrack.map((path) => `model/${path}`));
    for (const path of [...pathsAfter('Move away'), ...untrack]) rmSync(at(path), { recursive: true, force: true });
    const restore = [...pathsAfter('Put back'), ...pathsAfter('Commit the edit')].map((path) => `model/${path}`);
    if (restore.length > 0) git('checkout', '-q', '--', ...restore);
  };

  beforeAll(async () => {
    shop = await Workshop.open();
    shop.write('model/train.py', SCRIPT);
    shop.write('.gitignore', 'out/\nartifacts/*\n!artifacts/.gitignore\nstays/\n');
    write('conf/params.json', 'as it was sent');
    write('conf/other.json', 'as it was sent');
    write('conf/package.json', 'as it was sent');
    write('artifacts/.gitignore', '*');
    git('init', '-q');
    git('add', '.');
    git('add', '-f', 'model/artifacts/.gitignore');
    git('-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '-qm', 'all');
    ({ run } = await train());
    first = contents();
  });
  afterAll(() => shop.close());
  beforeEach(restore);
  afterEach(() => endChanges());

  it('are what the run left and what was sent, whenever the results are downloaded', async () => {
    expect(Object.keys(first).sort()).toEqual([
      'artifacts/.gitignore',
      'artifacts/m',
      'artifacts/training.log',
      'conf/other.json',
      'conf/package.json',
      'conf/params.json',
      'out/r',
      'stays/big.nx-ec2.json',
    ]);
    expect((await train()).run).toBe(run);
    expect(contents()).toEqual(first);
  });

  const IN_TIME: Moment[] = ['before they are compared', 'while they are fetched', 'after they were written'];
  const LATE: Moment[] = ['while they are fetched', 'after they were written'];
  const NOT_SENT = 'it was changed since it was sent';
  const kinds: [what: string, moments: Moment[], act: () => void, expected: Record<string, string | RegExp>][] = [
    [
      'an edit of a tracked file that the run changed',
      IN_TIME,
      () => write('conf/params.json'),
      { 'conf/params.json': /not the one that was sent|changed while|changed meanwhile/ },
    ],
    [
      'an edit of a tracked file that the run did not write',
      IN_TIME,
      () => write('conf/other.json'),
      { 'conf/other.json': NOT_SENT },
    ],
    [
      'the removal of a tracked file',
      IN_TIME,
      () => rmSync(at('conf/other.json')),
      { 'conf/other.json': 'it was removed since it was sent' },
    ],
    ['a link in the place of a tracked file', IN_TIME, () => link('conf/other.json'), { 'conf/other.json': NOT_SENT }],
    [
      'another mode of a tracked file',
      IN_TIME,
      () => chmodSync(at('conf/other.json'), 0o755),
      { 'conf/other.json': NOT_SENT },
    ],
    [
      'a file that git tracks since',
      IN_TIME,
      () => {
        write('conf/new.json');
        git('add', 'model/conf/new.json');
      },
      { 'conf/new.json': 'git tracks it, and it was not sent' },
    ],
    [
      'the removal of a tracked file that is held back for its name',
      IN_TIME,
      () => rmSync(at('conf/package.json')),
      { 'conf/package.json': 'it was removed since it was sent' },
    ],
    [
      'an edit of a tracked file that is never sent',
      MOMENTS,
      () => write('artifacts/.gitignore', '*.x'),
      { 'artifacts/.gitignore': 'it is not sent, and not as git has it' },
    ],
    [
      'a directory that became a link',
      ['before they are compared', 'after they were written'],
      () => {
        rmSync(join(shop.workspace, 'moved'), { recursive: true, force: true });
        renameSync(at('conf'), join(shop.workspace, 'moved'));
        link('conf', '../moved');
      },
      { conf: 'it is a symbolic link' },
    ],
    ['an edit of an untracked result', LATE, () => write('out/r'), { 'out/r': /changed (while|meanwhile)/ }],
    [
      'a link in the place of a result',
      LATE,
      () => {
        mkdirSync(at('out'), { recursive: true });
        link('out/r');
      },
      { 'out/r': /changed (while|meanwhile)/ },
    ],
    [
      'a link in the place of an output',
      ['before they are compared'],
      () => link('out', '/tmp'),
      { out: 'it is a symbolic link' },
    ],
    [
      'an edit of a pointer',
      LATE,
      () => write('stays/big.nx-ec2.json'),
      { 'stays/big.nx-ec2.json': /changed (while|meanwhile)/ },
    ],
    [
      'another training log',
      LATE,
      () => write('artifacts/training.log'),
      { 'artifacts/training.log': /changed (while|meanwhile)/ },
    ],
    [
      'another file in the place of an artifact that stays in the store',
      MOMENTS,
      () => write('stays/big'),
      { 'stays/big': /stays in the store, and another file is at its path/ },
    ],
    [
      'another file in the place of an artifact that is held back for its name',
      MOMENTS,
      () => write('out/package.json', '[]'),
      { 'out/package.json': /another file is at its path/ },
    ],
  ];
  it.each(
    kinds.flatMap(([what, moments, act, expected]) => moments.map((moment) => [what, moment, act, expected] as const)),
  )(
    'are not cached with %s, %s, and the same command downloads all results once that is undone',
    async (_what, moment, act, expected) => {
      const happened = when(moment, act);
      await expect(train()).rejects.toThrow(/NOT_CACHED/);
      expect(happened()).toBe(true);
      const reasons = named();
      for (const [path, why] of Object.entries(expected)) expect(reasons.get(path)).toMatch(why);
      expect(shop.printed).toContain(`The training ${run} succeeded, but its outputs hold`);
      // Everything else was delivered.
      const now = contents();
      const others = Object.keys(first).filter(
        (path) => ![...reasons.keys()].some((each) => path === each || path.startsWith(`${each}/`)),
      );
      for (const path of others) expect([path, now[path]]).toEqual([path, first[path]]);
      endChanges();
      rmSync(join(shop.workspace, 'moved'), { recursive: true, force: true });
      undo();
      expect((await train()).run).toBe(run);
      expect(contents()).toEqual(first);
    },
  );

  it.each<[what: string, moment: Moment, act: () => void, here: Record<string, string | undefined>]>([
    ['results of earlier runs', 'before', () => write('out/older', 'older'), { 'out/older': 'older' }],
    [
      'a link of a local run',
      'before',
      () => {
        mkdirSync(at('out'));
        link('out/latest', 'r');
      },
      { 'out/latest': 'link to r' },
    ],
    [
      'a result that somebody else downloaded meanwhile',
      'while they are fetched',
      () => write('out/r', 'of the run'),
      {},
    ],
    ['a result of an earlier run that is replaced', 'before', () => write('out/r', 'older'), {}],
    ['other times of a tracked file', 'before they are compared', () => utimesSync(at('conf/other.json'), 1, 1), {}],
    [
      'an artifact here that stays in the store',
      'before',
      () => write('stays/big', 'of the run'.repeat(10)),
      { 'stays/big': 'of the run'.repeat(10) },
    ],
  ])('are cached with %s', async (_what, moment, act, here) => {
    const happened = when(moment, act);
    expect((await train()).run).toBe(run);
    expect(happened()).toBe(true);
    expect(contents()).toEqual({ ...first, ...here });
  });

  it('may hold an edit if the target is not cached', async () => {
    when('before they are compared', () => write('conf/params.json'));
    expect((await train(false)).artifacts.heldBack).toHaveLength(3);
    expect(readFileSync(at('conf/params.json'), 'utf8')).toBe('an edit');
  });

  it('are those of a first run whenever the target succeeds, whatever changes meanwhile', async () => {
    const paths = Object.keys(first)
      .filter((path) => !/nx-ec2\.json$/.test(path))
      .concat('stays/big.nx-ec2.json', 'stays/big', 'out/package.json');
    const acts: Record<string, (path: string) => void> = {
      edit: (path) => write(path),
      'the same': (path) => first[path] !== undefined && write(path, first[path]),
      'as it was sent': (path) => write(path, 'as it was sent'),
      removal: (path) => rmSync(at(path), { force: true }),
      link: (path) => {
        mkdirSync(join(at(path), '..'), { recursive: true });
        link(path);
      },
    };
    const change = fc.record({ path: fc.constantFrom(...paths), act: fc.constantFrom(...Object.keys(acts)) });
    const during = fc.record({
      moment: fc.constantFrom(...MOMENTS.slice(1)),
      changes: fc.array(change, { maxLength: 3 }),
    });
    let succeeded = 0;
    await fc.assert(
      fc.asyncProperty(during, async ({ moment, changes }) => {
        restore();
        when(moment, () => changes.forEach(({ path, act }) => acts[act](path)));
        const failure = await train().then(() => null, String);
        endChanges();
        if (failure === null) expect(contents()).toEqual(first);
        else expect(failure).toContain('"code":"NOT_CACHED"');
        if (failure === null) succeeded++;
      }),
      { numRuns: 30 },
    );
    expect(succeeded).toBeGreaterThan(0);
  });
});
