import { ProcessSignals } from './process-signals';

describe('signals', () => {
  let signals: ProcessSignals;
  let got: string[];
  const send = (...signals: string[]) =>
    signals.forEach((each) => process.emit(each as NodeJS.Signals, each as NodeJS.Signals));
  const later = (ms: number) => jest.setSystemTime(Date.now() + ms);

  beforeEach(() => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate'] });
    got = [];
    signals = new ProcessSignals({
      first: (by) => void got.push(`first ${by}`),
      again: (by) => void got.push(`again ${by}`),
      detach: () => void got.push('leave'),
    });
  });
  afterEach(() => {
    signals.close();
    jest.useRealTimers();
  });

  it.each([
    ['all at once, as in a terminal', 0, ['SIGTERM', 'SIGHUP']],
    ['once more from Nx, on a machine that has much to do', 500, ['SIGINT']],
    ['as another one, whenever', 1_500, ['SIGTERM', 'SIGHUP']],
  ])('count as one Ctrl+C if they come %s', async (_, ms, others) => {
    send('SIGINT');
    later(ms);
    send(...others);
    expect(got).toEqual(['first SIGINT', 'leave']);
    const wants = signals.wantsStop(false);
    jest.advanceTimersByTime(2_000);
    expect(await wants).toBe(false);
  });

  it('of another kind count as one, however often they come', async () => {
    for (const signal of ['SIGTERM', 'SIGHUP']) {
      send(signal);
      later(900);
      send(signal, 'SIGINT');
      later(200);
      send(signal);
    }
    expect(got).toEqual(['first SIGTERM', 'leave']);
    const wants = signals.wantsStop(false);
    jest.advanceTimersByTime(2_000);
    expect(await wants).toBe(false);
  });

  it('count as one if copies of it keep coming', () => {
    send('SIGINT');
    for (const ms of [600, 600, 600]) {
      later(ms);
      send('SIGINT');
    }
    expect(got).toEqual(['first SIGINT', 'leave']);
  });

  it('count as two if a person sends a second one', async () => {
    send('SIGINT');
    const wants = signals.wantsStop(false);
    later(900);
    send('SIGINT');
    send('SIGINT');
    expect(got).toEqual(['first SIGINT', 'leave', 'again SIGINT']);
    expect(await wants).toBe(true);
  });

  it('count as one if the second one comes too late', () => {
    send('SIGINT');
    later(2_100);
    send('SIGINT');
    expect(got).toEqual(['first SIGINT', 'leave']);
  });
});
