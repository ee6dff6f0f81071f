import { BARE, type Measure, type Result } from '../scenarios/scenario';
import { BEFORE_BUNDLE } from './before-bundle';
import {
  atMostFloorsLoaded,
  atMostFloorsMore,
  atMostTimes,
  behindFloor,
  processorSinceBundle,
  timesAheadOf,
} from './goals';

const measure = (values: Partial<Measure>): Measure => ({
  time: 0,
  sent: 0,
  received: 0,
  requests: 0,
  commands: 1,
  stored: 0,
  processor: {},
  more: {},
  ...values,
});

/** A result whose floor is 500 ms. */
const result = (ours: Measure, others: Record<string, Measure | null> = {}) =>
  ({
    floor: [
      ['there', 300],
      ['back', 200],
    ],
    rows: [
      { contender: 'nx-ec2', measure: ours },
      ...Object.entries(others).map(([contender, other]) =>
        other ? { contender, measure: other } : { contender, failure: 'absent' },
      ),
    ],
  }) as unknown as Result;

describe('a goal', () => {
  it('for the executor includes the time that loads its code', () => {
    const ours = measure({ time: 600, loading: 50 });
    expect(atMostFloorsLoaded(1.3).judge(ours, result(ours))).toEqual({ value: '1.30 ×', met: true });
    const slower = measure({ time: 600, loading: 60 });
    expect(atMostFloorsLoaded(1.3).judge(slower, result(slower))).toEqual({ value: '1.32 ×', met: false });
  });

  it('for the executor is not judged if that time was not measured', () => {
    const ours = measure({ time: 100 });
    expect(atMostFloorsLoaded(1.3).judge(ours, result(ours))).toBeNull();
  });

  it('for a whole process counts the time beyond that of a process that does nothing', () => {
    const goal = atMostFloorsMore(1.3);
    const [met, missed] = [600, 700].map((more) => measure({ time: 2_000, more: { 'our share': more } }));
    expect(goal.judge(met, result(met))).toEqual({ value: '+ 1.20 ×', met: true });
    expect(goal.judge(missed, result(missed))).toEqual({ value: '+ 1.40 ×', met: false });
  });

  it('against another program is a ratio of times', () => {
    const ours = measure({ time: 500 });
    const others = { rsync: measure({ time: 900 }), casync: null };
    expect(timesAheadOf('rsync', 2).judge(ours, result(ours, others))).toEqual({ value: '1.8 ×', met: false });
    expect(timesAheadOf('rsync', 1).judge(ours, result(ours, others))).toEqual({ value: '1.8 ×', met: true });
    expect(timesAheadOf('casync', 1).judge(ours, result(ours, others))).toBeNull();
    expect(timesAheadOf('tarball', 1).judge(ours, result(ours, others))).toBeNull();
  });

  it('against the floor is a difference, and a limit for a ratio', () => {
    const ours = measure({ time: 900, more: { ratio: 2.5 } });
    expect(behindFloor(500).judge(ours, result(ours))).toEqual({ value: '400 ms', met: true });
    expect(atMostTimes(2, ({ more }) => more.ratio, 'x').judge(ours, result(ours))).toMatchObject({ met: false });
  });
});

describe('the processor time since the bundle', () => {
  const { client, instance, nx } = BEFORE_BUNDLE.unchanged;
  const judge = (side: 'client' | 'instance', part: number, speed: number) => {
    const ours = measure({
      processor: { instance: instance * part * speed },
      more: { 'processor, our share': client * part * speed },
    });
    const bare = measure({ processor: { client: nx * speed } });
    return processorSinceBundle(0.4, side, 'unchanged').judge(ours, result(ours, { [BARE]: bare }));
  };

  it.each(['client', 'instance'] as const)('is met by the %s with two fifths of the time', (side) => {
    expect(judge(side, 0.39, 1)).toMatchObject({ met: true, value: expect.stringMatching(/, -61 %$/) });
    expect(judge(side, 0.5, 1)).toMatchObject({ met: false, value: expect.stringMatching(/, -50 %$/) });
    expect(judge(side, 1.2, 1)).toMatchObject({ met: false, value: expect.stringMatching(/, \+20 %$/) });
  });

  it.each([0.3, 3])('is judged relative to the speed of the machine: %s', (speed) => {
    expect(judge('client', 0.39, speed)).toMatchObject({ met: true });
    expect(judge('client', 0.5, speed)).toMatchObject({ met: false });
  });

  it('is not judged where Nx alone was not measured', () => {
    const ours = measure({ processor: { instance: 1 }, more: { 'processor, our share': 1 } });
    expect(processorSinceBundle(0.4, 'client', 'unchanged').judge(ours, result(ours))).toBeNull();
  });
});
