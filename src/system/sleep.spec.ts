import { sleep } from './sleep';

describe('a sleep that is aborted', () => {
  it.each([
    ['before it', 0],
    ['during it', 20],
  ])('rejects with the reason of the signal, %s', async (_, ms) => {
    const reason = new Error('Stopped.');
    const controller = new AbortController();
    if (ms === 0) controller.abort(reason);
    else setTimeout(() => controller.abort(reason), ms);
    await expect(sleep(3_600_000, controller.signal)).rejects.toBe(reason);
  });
});
