import { StoreFixture } from '../../store/store.fixture';
import { resumePoint } from './checkpoint-to-restore';
import { putRecord, recordOf } from '../record/saved-run.fixture';
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
