import { Moment, steadyNow } from './moment';

describe('a moment', () => {
  afterEach(() => void jest.restoreAllMocks());

  it.each([
    ['set back by three days', -3 * 86_400_000, 0],
    ['set ahead by a day', 86_400_000, 86_400_000],
  ])('is never in the future, with the clock %s', (_, by, least) => {
    const moment = new Moment(60_000);
    const real = Date.now;
    jest.spyOn(Date, 'now').mockImplementation(() => real() + by);
    expect(moment.age).toBeGreaterThanOrEqual(Math.max(60_000, least));
    expect(moment.age).toBeLessThan(Math.max(60_000, least + 60_000) + 60_000);
  });

  it('for durations continues if the clock is set back', () => {
    const began = steadyNow();
    jest.spyOn(Date, 'now').mockReturnValue(0);
    expect(steadyNow()).toBeGreaterThanOrEqual(began);
  });
});
