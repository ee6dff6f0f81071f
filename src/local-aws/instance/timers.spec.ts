import { until } from '../../system/until.fixture';
import { Timers } from './timers';

describe('what is to happen later', () => {
  it('ends nothing else where it fails', async () => {
    const said = jest.spyOn(console, 'error').mockImplementation();
    const timers = new Timers();
    const done: string[] = [];
    timers.at('a', Date.now() + 5, () => {
      done.push('a');
      throw new Error('ENOSPC: no space left on device, write');
    });
    timers.at('b', Date.now() + 10, () => done.push('b'));
    await until(() => done.length === 2);
    expect(said.mock.calls).toEqual([['ENOSPC: no space left on device, write']]);
    said.mockRestore();
  });
});
