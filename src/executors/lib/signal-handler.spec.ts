import { PassThrough } from 'node:stream';
import { Printer } from '../../report/printer';
import { SignalHandler, type Stop } from './signal-handler';

describe('what a signal does to a target', () => {
  let signals: SignalHandler;
  const send = () => process.emit('SIGINT', 'SIGINT');
  const later = (ms: number) => jest.setSystemTime(Date.now() + ms);
  const stop = async () => undefined;
  const stopped = (immediate: boolean): Stop => ({ immediate, say: 'Stopping the run.', stop });

  beforeEach(() => {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate'] });
    const stdout = new PassThrough().resume() as unknown as NodeJS.WriteStream;
    signals = new SignalHandler(new Printer({ stdout }));
  });
  afterEach(() => {
    signals.close();
    jest.useRealTimers();
  });

  it('does not stop, or wait for another signal, if nothing can be stopped', async () => {
    signals.answerSignal(() => 'Detached.');
    send();
    later(900);
    send();
    expect(await signals.outcome()).toEqual({ code: 'DETACHED', message: 'Detached.' });
  });

  it('is a stop, with its own message, at a second signal within two seconds', async () => {
    signals.answerSignal(() => 'Detached.', stopped(false));
    send();
    later(900);
    send();
    expect(await signals.outcome()).toEqual({ code: 'STOPPED', message: 'Stopping the run.', stop });
  });

  it('is a stop at the first signal if the target says so', async () => {
    signals.answerSignal(() => 'Detached.', stopped(true));
    send();
    expect(await signals.outcome()).toEqual({ code: 'STOPPED', message: 'Stopping the run.', stop });
  });

  it('detaches from the run if no second signal comes', async () => {
    signals.answerSignal(() => 'Detached.', stopped(false));
    send();
    const outcome = signals.outcome();
    await jest.advanceTimersByTimeAsync(2_000);
    expect(await outcome).toEqual({ code: 'DETACHED', message: 'Detached.' });
  });
});
