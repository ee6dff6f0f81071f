import type { RunFacts } from '../../command/plan';
import { describeOutcome, assertSucceeded } from './outcome';
import { recordOf } from '../record/saved-run.fixture';

describe('a run that was interrupted', () => {
  const ended = (reason: string | null) =>
    ({
      id: 'r',
      instance: 'i-1',
      directory: '/d',
      outcome: 'interrupted',
      startedAt: 1000,
      endedAt: 62_000,
      exitCode: 143,
      signal: null,
      failure: null,
      stop: reason && { reason, at: 0 },
    }) as unknown as RunFacts;

  it('names the shutdown rule that ended it, and what to change', () => {
    expect(describeOutcome(ended('shutdown'))).toMatch(/: the instance was shutting down \(exited with 143\)$/);
    expect(describeOutcome(ended(null))).toMatch(/: the instance was shutting down/);
    for (const [reason, why, change] of [
      ['lifetime', /reached its maximum lifetime/, /"instance.maxLifetime"/],
      ['cost', /reached its cost limit/, /"instance.maxCost"/],
      ['deadline', /over all its instances/, /"instance.maxLifetime".*"instance.maxCost"/],
      ['hung', /seemed to hang/, /"instance.idleTimeout"/],
    ] as const) {
      expect(describeOutcome(ended(reason))).toMatch(why);
      expect(() => assertSucceeded(ended(reason), 'p')).toThrow(change);
    }
  });

  it('shows a reason of a later version unchanged, but safe to print', () => {
    expect(describeOutcome(ended('moved\u001b[2J'))).not.toContain('\u001b');
    expect(describeOutcome(ended('constructor'))).toMatch(/: constructor \(/);
  });

  it('says for a run that reached its time limit what to raise, and how to train again', () => {
    expect(() => assertSucceeded(recordOf({ outcome: 'timed-out', exitCode: 143 }), 'model')).toThrow(
      /To allow more time, raise "train\.timeout"\. To train again from the start: nx run model:remote-train$/m,
    );
  });
});
