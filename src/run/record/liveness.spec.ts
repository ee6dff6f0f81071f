import { Problem } from '../../report/problem';
import { runRecord } from '../../schema/run-record';
import { outcome } from '../../schema/run';
import { assertSaved } from '../artifacts/assert-saved';
import { isResumable, awaitsReplacement } from './interruption';
import { isEnded, lost } from './liveness';
import { recordOf } from './saved-run.fixture';

const gone = new Problem('INSTANCE_GONE', 'The instance i-1 is terminated: whatever was running on it was lost.');
const OUTCOMES = [...outcome.options, null];
const RECORDS = runRecord.shape.state.options.flatMap((state) =>
  OUTCOMES.flatMap((outcome) =>
    (['saved', null] as const).flatMap((saved) => {
      const artifacts = saved && { ...recordOf().artifacts!, state: saved };
      return [recordOf({ state, outcome, artifacts })];
    }),
  ),
);

describe('the record of a run whose instance is gone', () => {
  it.each(RECORDS)('says success only if it says that the run has ended: $state, $outcome', (record) => {
    const found = lost({ ...record, startedAt: 1000, endedAt: null }, gone, Date.now() - 5000);
    expect(isEnded(found)).toBe(record.outcome !== null || found.outcome === 'lost');
    expect(found.outcome === 'succeeded').toBe(record.state === 'ended' && record.outcome === 'succeeded');
    // A training that has failed has ended, whatever of it was saved.
    if (record.outcome !== null && record.outcome !== 'succeeded') expect(found.outcome).toBe(record.outcome);
    if (found.outcome !== 'lost' || record.outcome === 'lost') return;
    expect(Math.round(found.endedAt! / 1000)).toBe(5);
    expect(lost({ ...record, startedAt: 1000, endedAt: null }, gone, Infinity).endedAt).toBe(1000);
    expect(lost({ ...record, endedAt: 3000 }, gone, 0).endedAt).toBe(3000);
    expect(found.failure).toMatchObject({
      code: 'INSTANCE_GONE',
      message: expect.stringContaining('i-1 is terminated'),
    });
    const by = (recovery: 'client' | 'fleet') => ({ ...found, metadata: { ...found.metadata, recovery } });
    expect([isResumable({ ...by('client'), access: 'role' }), awaitsReplacement(by('fleet'))]).toEqual([true, true]);
  });

  it.each(RECORDS.filter(({ state }) => state !== 'ended'))('has no artifacts yet: $state, $outcome', (record) => {
    if (record.artifacts) return;
    expect(() => assertSaved(record, 'model')).toThrow(expect.objectContaining({ code: 'COLLECT_FAILED' }));
  });
});
