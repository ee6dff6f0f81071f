import { StoreFixture } from '../../store/store.fixture';
import { startRun } from './start-run';
import { push } from '../../project/sync-project';
import { putRecord, recordOf, RUN } from '../record/saved-run.fixture';
import type { RunRecord } from '../record/record';

jest.mock('../../project/sync-project');

const INSTANCE = 'i-0123456789abcdef0';
const OTHER = 'i-0fedcba9876543210';

/** An instance says that a run is the training that is asked for: the client would sign a form for its objects. */
describe('a run that an instance names as the same training', () => {
  let at: StoreFixture;
  beforeAll(async () => (at = await StoreFixture.start()));
  afterAll(() => at.close());
  beforeEach(() => at.empty());

  /** @param stored the run as the store knows it; null: not at all. */
  const attach = async (stored: Partial<RunRecord> | null) => {
    if (stored) await putRecord(at.store, at.keys(), recordOf({ runKey: 'k', instance: INSTANCE, ...stored }));
    const run = recordOf({ runKey: 'k', instance: INSTANCE, state: 'running', outcome: null });
    jest.mocked(push).mockResolvedValue({ reply: { run, attached: 'running' }, settled: Promise.resolve() } as never);
    const context = { store: at.store, keys: at.keys(), instance: INSTANCE, tree: 't', at: jest.fn() };
    const launched = await startRun(context as never, {} as never, { key: () => 'k' } as never, {
      signal: new AbortController().signal,
      scanned: {} as never,
      rerun: false,
      onSend: () => undefined,
    });
    await launched.settled;
    return launched.run.id;
  };
  const known = () => at.store.get(at.keys().key('k'), 1024);

  it.each([
    ['on it', {}],
    ['not at all', null],
  ])('is attached to if the store knows it %s', async (_what, stored) => {
    expect(await attach(stored)).toBe(RUN);
    expect(await known()).not.toBeNull();
  });

  it.each([
    ['as another training', { runKey: 'other' }],
    ['on another instance', { instance: OTHER }],
  ])('is refused if the store knows it %s, and nothing is cached of it', async (_what, stored) => {
    await expect(attach(stored)).rejects.toMatchObject({
      code: 'REPLY_INVALID',
      message: expect.stringContaining(RUN),
    });
    expect(await known()).toBeNull();
  });
});
