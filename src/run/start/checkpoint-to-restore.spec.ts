import { StoreFixture } from '../../store/store.fixture';
import { resumePoint } from './checkpoint-to-restore';
import { nodeStateOf, putRecord, recordOf } from '../record/saved-run.fixture';
import type { RunContext } from '../../context/types';

const FIRST = '20260101-000000-model-aaaaaa';
const SECOND = '20260102-000000-model-aaaaaa';
const checkpoint = (n: number, sha256: string) => ({
  n,
  unit: `step-${n}`,
  sha256,
  size: 1,
  files: 1,
  at: 1,
  attempt: 1,
});

describe('resumePoint', () => {
  let at: StoreFixture;
  let context: RunContext;
  beforeAll(async () => {
    at = await StoreFixture.start();
    context = { store: at.store, keys: at.keys(), project: 'model', configuration: {} } as unknown as RunContext;
  });
  afterAll(() => at.close());
  beforeEach(() => at.empty());

  const put = (id: string, more: Parameters<typeof recordOf>[0]) =>
    putRecord(at.store, at.keys(), recordOf({ id, ...more }));

  it("is the run's own last checkpoint, else the one that the run was started from", async () => {
    const [a, b, c] = ['a', 'b', 'c'].map((digit) => digit.repeat(64));
    const restored = { run: FIRST, n: 1, unit: 'step-1' };
    await put(FIRST, { checkpoints: [checkpoint(1, a), checkpoint(2, b)] });
    await put(SECOND, { restoredFrom: restored });
    expect(await resumePoint(context, SECOND, false)).toMatchObject({ run: FIRST, n: 1, sha256: a });
    await put(SECOND, { restoredFrom: restored, checkpoints: [checkpoint(1, c)] });
    expect(await resumePoint(context, SECOND, false)).toMatchObject({ run: SECOND, n: 1, sha256: c });
  });

  describe('of a run on several nodes', () => {
    const node = (rank: number, count = 2) => ({ node: nodeStateOf(rank, count) });
    const putNode = (rank: number, more: Parameters<typeof recordOf>[0]) =>
      putRecord(at.store, at.keys(), recordOf({ id: FIRST, ...node(rank), ...more }));
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((digit) => digit.repeat(64));

    it('is the newest that all have which save any, and names what each has of it', async () => {
      await putNode(0, { checkpoints: [checkpoint(1, a), checkpoint(2, b)] });
      await putNode(1, { checkpoints: [checkpoint(1, c)] });
      expect(await resumePoint(context, FIRST, false)).toMatchObject({
        n: 1,
        sha256: a,
        nodes: [{ rank: 1, n: 1, sha256: c }],
      });
      await putNode(1, { checkpoints: [checkpoint(1, c), { ...checkpoint(7, d), unit: 'step-2' }] });
      expect(await resumePoint(context, FIRST, false)).toMatchObject({
        n: 2,
        sha256: b,
        nodes: [{ rank: 1, n: 7, sha256: d }],
      });
    });

    it("is the first node's where it alone saves", async () => {
      await putNode(0, { checkpoints: [checkpoint(1, a)] });
      await putNode(1, {});
      expect(await resumePoint(context, FIRST, false)).toMatchObject({ n: 1, nodes: [] });
    });

    it('is of attempts with one number of nodes', async () => {
      const later = { ...checkpoint(2, b), attempt: 2, unit: 'step-1' };
      await putNode(0, {
        attempt: 2,
        attempts: [{ ...recordOf().attempts[0], nodes: 2 }],
        ...node(0, 1),
        checkpoints: [checkpoint(1, a), later],
      });
      await putNode(1, { checkpoints: [checkpoint(1, c)] });
      expect(await resumePoint(context, FIRST, false)).toMatchObject({ n: 2, sha256: b, nodes: [] });
    });

    it('fails if the nodes have none in common', async () => {
      await putNode(0, { checkpoints: [checkpoint(1, a)] });
      await putNode(1, { checkpoints: [checkpoint(2, b)] });
      await expect(resumePoint(context, FIRST, false)).rejects.toMatchObject({ code: 'NO_CHECKPOINT' });
    });
  });

  it.each([
    ['none at all', null],
    ['only a checkpoint of its own that it no longer names', { run: SECOND, n: 1, unit: 'step-1' }],
    ['one that the other run has let go', { run: FIRST, n: 7, unit: 'step-7' }],
  ])('fails if the run has %s', async (_what, restored) => {
    await put(FIRST, { checkpoints: [checkpoint(1, 'a'.repeat(64))] });
    await put(SECOND, { restoredFrom: restored });
    await expect(resumePoint(context, SECOND, false)).rejects.toMatchObject({ code: 'NO_CHECKPOINT' });
  });
});
