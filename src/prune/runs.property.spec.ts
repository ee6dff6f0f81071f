import { createHash } from 'node:crypto';
import fc from 'fast-check';
import type { Snapshot } from '../snapshot/snapshot';
import type { Pack } from '../store/packs/pack';
import { DAY, StoreFixture } from '../store/store.fixture';
import { prune } from './prune';

const OLDER = 14;
const RUNS_OLDER = 90;

/** A run's life. Ages are days; parts are numbers below 6. */
interface Life {
  project: number;
  /** Of its record; `earlier`: so much older is all else that it wrote. */
  age: number;
  earlier: number;
  ended: boolean;
  /** The snapshot that it runs, by number. */
  snapshot: number;
  /** The run that it was restored from, by number. */
  restored: number | null;
  artifacts: number[] | null;
  checkpoints: { named: boolean; parts: number[] }[];
  loose: number[];
  /** When somebody brought its artifacts back. */
  collected: number | null;
  /** Of what leads to it. */
  key: number | null;
  recordless: boolean;
  damaged: 'record' | 'artifacts' | null;
}

const SNAPSHOTS = 3;
const age = fc.integer({ min: 0, max: 120 }).filter((days) => ![1, OLDER, RUNS_OLDER].includes(days));
const parts = fc.uniqueArray(fc.nat(5), { maxLength: 3 });
const life: fc.Arbitrary<Life> = fc.record({
  project: fc.nat(1),
  age,
  earlier: fc.constantFrom(0, 0.5, 200),
  ended: fc.boolean(),
  snapshot: fc.nat(SNAPSHOTS - 1),
  restored: fc.option(fc.nat(4), { nil: null }),
  artifacts: fc.option(parts, { nil: null }),
  checkpoints: fc.array(fc.record({ named: fc.boolean(), parts }), { maxLength: 3 }),
  loose: parts,
  collected: fc.option(age, { nil: null, freq: 4 }),
  key: fc.option(age, { nil: null }),
  recordless: fc.nat(5).map((n) => n === 0),
  damaged: fc.option(fc.constantFrom('record' as const, 'artifacts' as const), { nil: null, freq: 5 }),
});

const idOf = (index: number) => `202601${String(index + 10)}-000000-model-aaaaaa`;
const projectOf = (index: number) => `project ${index}`;
const partName = (n: number) => `part/${createHash('sha256').update(`part ${n}`).digest('hex')}`;
const list = (own: number[]) => ({ v: 1, files: [{ path: 'x', parts: own.map((n) => partName(n).slice(5)) }] });

/** What a run has in the store, by name. */
function objectsOf(run: Life): Record<string, object | string> {
  const used = [...(run.artifacts ?? []), ...run.checkpoints.flatMap((each) => each.parts), ...run.loose];
  return {
    ...Object.fromEntries(used.map((n) => [partName(n), `part ${n}`])),
    ...Object.fromEntries(run.checkpoints.map((each, index) => [`checkpoint/${index + 1}.json`, list(each.parts)])),
    ...(run.artifacts ? { 'artifacts.json': run.damaged === 'artifacts' ? '{' : list(run.artifacts) } : {}),
    ...(run.collected === null ? {} : { collected: '' }),
    'log/0': 'log',
  };
}

/** What is needed, said as docs/reference/formats.md says it, by nothing that prune uses: names as `<run> <object>`, snapshots, keys. */
function reachableOf(runs: Life[], keep: number): Set<string> {
  const latest = (run: Life) =>
    Math.min(run.recordless ? run.age + run.earlier : run.age, run.collected ?? Infinity, run.age + run.earlier);
  const readable = (run: Life) => !run.recordless && run.damaged !== 'record';
  const kept = new Set(
    runs.flatMap((run, index) => {
      // A record that can't be read pushes out no run whose record can.
      const newer = (isReadable: boolean) =>
        runs.filter((other, at) => {
          const counts = other.project === run.project && at > index && !other.recordless;
          return counts && readable(other) === isReadable;
        }).length;
      const isNewest = newer(true) < keep && (readable(run) || newer(false) < keep);
      return latest(run) < RUNS_OLDER || (!run.recordless && isNewest) ? [index] : [];
    }),
  );
  for (const index of [...kept]) {
    const { restored, ended, checkpoints, project } = runs[index];
    const uses = !ended || !checkpoints.some(({ named }) => named);
    if (readable(runs[index]) && uses && restored !== null && runs[restored]?.project === project) kept.add(restored);
  }
  const reachable = new Set<string>();
  for (const [index, run] of runs.entries()) {
    if (run.key !== null && (kept.has(index) || run.key < OLDER)) reachable.add(`key ${index}`);
    if (!kept.has(index)) continue;
    if (readable(run)) reachable.add(`snapshot ${run.project} ${run.snapshot}`);
    const thin = readable(run) && run.ended && run.age > 1 && run.damaged !== 'artifacts';
    const whole = !thin && { all: true };
    const named = new Set(
      [...(run.artifacts ?? []), ...run.checkpoints.flatMap((each) => (each.named ? each.parts : []))].map(partName),
    );
    if (!run.recordless) reachable.add(`${index} record.json`);
    for (const name of Object.keys(objectsOf(run))) {
      const number = /^checkpoint\/(\d+)/.exec(name)?.[1];
      const superseded = number
        ? !run.checkpoints[Number(number) - 1].named
        : name.startsWith('part/') && !named.has(name);
      if (whole || !superseded) reachable.add(`${index} ${name}`);
    }
  }
  return reachable;
}

describe('prune, after any history of runs', () => {
  let at: StoreFixture;
  beforeAll(async () => {
    at = await StoreFixture.start();
  });
  afterAll(() => at.close());

  it('never removes what a kept run names, and removes what no kept run names', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(life, { maxLength: 5 }), fc.nat(2), async (drawn, keepRuns) => {
        // A list that can't be read is there to be read.
        const runs = drawn.map((run) =>
          run.damaged === 'artifacts' && !run.artifacts ? { ...run, damaged: null } : run,
        );
        at.empty();
        const names = new Map<string, string>();
        const ages = new Map<string, number>();
        const made = (name: string, key: string, days: number) => {
          names.set(name, key);
          ages.set(key, days);
        };
        const snapshots: Snapshot[][] = [];
        const packs: Pack[][] = [];
        for (const project of [0, 1]) {
          packs.push([]);
          snapshots.push([]);
          for (let each = 0; each < SNAPSHOTS; each++) {
            packs[project].push(await at.pack());
            snapshots[project].push(await at.manifest([packs[project][each]], null, projectOf(project)));
            made(`snapshot ${project} ${each}`, at.keys(projectOf(project)).manifest(snapshots[project][each].id), 300);
            ages.set(at.keys().pack(packs[project][each].sha256), 300);
          }
        }
        for (const [index, run] of runs.entries()) {
          const project = projectOf(run.project);
          const record = {
            v: 1,
            state: run.ended ? 'ended' : 'running',
            snapshot: snapshots[run.project][run.snapshot].id,
            checkpoints: run.checkpoints.flatMap(({ named }, n) => (named ? [{ n: n + 1 }] : [])),
            restoredFrom: run.restored === null ? null : { run: idOf(run.restored), n: 1, unit: 'x' },
          };
          const written = run.damaged === 'record' ? { v: 1, state: 5 } : record;
          const keys = await at.run(idOf(index), run.recordless ? null : written, objectsOf(run), project);
          for (const [name, key] of keys) {
            const days =
              name === 'record.json' ? run.age : name === 'collected' ? run.collected! : run.age + run.earlier;
            made(`${index} ${name}`, key, days);
          }
          if (run.key === null) continue;
          const key = at.keys(project).key(`key ${index}`);
          await at.store.put(key, Buffer.from(JSON.stringify({ v: 1, run: idOf(index) })));
          made(`key ${index}`, key, run.key);
        }
        at.age(ages);
        const reachable = reachableOf(runs, keepRuns);
        const limits = { olderThan: OLDER * DAY, refsOlderThan: RUNS_OLDER * DAY, runsOlderThan: RUNS_OLDER * DAY };
        const options = { ...limits, keepSnapshots: 0, keepRuns, apply: true };
        const left = async () => {
          const there = await at.there();
          return [...names].filter(([, key]) => there.has(key)).map(([name]) => name);
        };
        await prune(at.store, 'team', options);
        const own = (name: string) => !name.startsWith('snapshot');
        expect((await left()).filter(own).sort()).toEqual([...reachable].filter(own).sort());
        at.age(8.1, [at.keys().pendingDeletes]);
        await prune(at.store, 'team', options);
        expect((await left()).sort()).toEqual([...reachable].sort());
        const there = await at.there();
        for (const project of [0, 1])
          for (let each = 0; each < SNAPSHOTS; each++)
            expect(there.has(at.keys().pack(packs[project][each].sha256))).toBe(
              reachable.has(`snapshot ${project} ${each}`),
            );
      }),
      { numRuns: 60 },
    );
  });
});
