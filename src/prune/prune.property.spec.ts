import fc from 'fast-check';
import type { Snapshot } from '../snapshot/snapshot';
import type { Pack } from '../store/packs/pack';
import { prune } from './prune';
import { DAY, StoreFixture } from '../store/store.fixture';

const OLDER = 14;
const REFS_OLDER = 90;

/** A store's life, oldest first: what each sync wrote, and how many days ago. */
interface Life {
  packs: { age: number; indexed: boolean }[];
  manifests: { project: number; age: number; base: number | null; packs: number[] }[];
  refs: { project: number; age: number; history: number[] }[];
  keep: number;
}

/** Days; what is on the line between old and young may be either, as S3 tells time in seconds. */
const age = fc.integer({ min: 0, max: 120 }).filter((days) => ![1, OLDER, REFS_OLDER].includes(days));
const some = (length: number) => fc.uniqueArray(fc.nat(Math.max(0, length - 1)), { maxLength: length && 3 });

const life: fc.Arbitrary<Life> = fc
  .record({
    packs: fc.array(fc.record({ age, indexed: fc.boolean() }), { maxLength: 8 }),
    count: fc.nat(7),
    keep: fc.nat(2),
  })
  .chain(({ packs, count, keep }) =>
    fc.record({
      packs: fc.constant(packs),
      manifests: fc.tuple(
        ...Array.from({ length: count }, (_, index) =>
          fc.record({
            project: fc.nat(1),
            age,
            base: fc.option(fc.nat(Math.max(0, index - 1)), { nil: null }),
            packs: some(packs.length),
          }),
        ),
      ),
      refs: fc.array(fc.record({ project: fc.nat(1), age, history: some(count) }), { maxLength: 3 }),
      keep: fc.constant(keep),
    }),
  );

/** What is needed, said as docs/reference/formats.md says it, by nothing that prune uses. Pairs of kind and number. */
function reachableOf({ packs, manifests, refs, keep }: Life): Set<string> {
  const reachablePacks = refs.filter((ref) => ref.age < REFS_OLDER);
  const reach = (index: number): number[] => {
    const { base, project } = manifests[index];
    const follows = base !== null && base !== index && manifests[base].project === project;
    return follows ? [index, ...reach(base)] : [index];
  };
  const roots = manifests.flatMap((manifest, index) => {
    const named = reachablePacks.some((ref) => ref.project === manifest.project && ref.history.includes(index));
    const newer = manifests.filter((other, at) => {
      const later = other.age < manifest.age || (other.age === manifest.age && at < index);
      return other.project === manifest.project && later;
    });
    const kept = reachablePacks.some(({ project }) => project === manifest.project) && newer.length < keep;
    return named || kept || manifest.age < OLDER ? [index] : [];
  });
  const kept = [...new Set(roots.flatMap(reach))];
  return new Set([
    ...kept.map((index) => `manifest ${index}`),
    ...kept.flatMap((index) => manifests[index].packs.map((pack) => `pack ${pack}`)),
    ...packs.flatMap((pack, index) => (pack.age < OLDER ? [`pack ${index}`] : [])),
    ...refs.flatMap((ref, index) => (ref.age < REFS_OLDER ? [`ref ${index}`] : [])),
  ]);
}

describe('prune, after any history of a store', () => {
  let at: StoreFixture;
  beforeAll(async () => {
    at = await StoreFixture.start();
  });
  afterAll(() => at.close());

  it('never removes a reachable object, and removes all others in two rounds', async () => {
    await fc.assert(
      fc.asyncProperty(life, async (drawn) => {
        // Records of one age would be in no order: they are told apart by their number.
        const told = {
          ...drawn,
          manifests: drawn.manifests.map((each, index) => ({ ...each, age: each.age + index / 1000 })),
        };
        at.empty();
        const names = new Map<string, string>();
        const ages = new Map<string, number>();
        const made = (name: string, key: string, days: number) => {
          names.set(name, key);
          ages.set(key, days);
        };
        const packs: Pack[] = [];
        for (const [index, each] of told.packs.entries()) {
          packs.push(await at.pack());
          made(`pack ${index}`, at.keys().pack(packs[index].sha256), each.age);
          if (each.indexed) ages.set(await at.index([packs[index]]), each.age);
        }
        const manifests: Snapshot[] = [];
        const project = (index: number) => `project ${index}`;
        for (const [index, each] of told.manifests.entries()) {
          const base = each.base !== null && each.base !== index && manifests[each.base];
          const follows = base && told.manifests[each.base!].project === each.project;
          const of = each.packs.map((pack) => packs[pack]);
          manifests.push(await at.manifest(of, follows ? base : null, project(each.project)));
          made(`manifest ${index}`, at.keys(project(each.project)).manifest(manifests[index].id), each.age);
        }
        for (const [index, each] of told.refs.entries()) {
          const history = each.history.map((manifest) => manifests[manifest]);
          made(`ref ${index}`, await at.ref(history, `tree/i-${index}`, project(each.project)), each.age);
        }
        at.age(ages);
        const reachable = reachableOf(told);
        const limits = {
          olderThan: OLDER * DAY,
          refsOlderThan: REFS_OLDER * DAY,
          keepSnapshots: told.keep,
          apply: true,
          runsOlderThan: REFS_OLDER * DAY,
          keepRuns: 0,
        };

        await prune(at.store, 'team', limits);
        let there = await at.there();
        expect([...names.values()].filter((key) => !there.has(key))).toEqual([]);
        // Time passes for the sentence alone: what is needed stays what it was.
        at.age(8.1, [at.keys().pendingDeletes]);
        await prune(at.store, 'team', limits);
        there = await at.there();
        const left = [...names].filter(([, key]) => there.has(key)).map(([name]) => name);
        expect(left.sort()).toEqual([...reachable].sort());
        const find = await at.finder();
        for (const [index, pack] of packs.entries()) {
          const { indexed, age } = told.packs[index];
          const found = reachable.has(`pack ${index}`) && (indexed || age > 1);
          expect(find(pack)).toBe(found ? pack.sha256 : undefined);
        }
      }),
      { numRuns: 60 },
    );
  });
});
