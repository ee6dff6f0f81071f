import type { SyncReply } from '../command/plan';
import type { Printer } from '../report/printer';
import { describeReply } from './sync-project';

describe('what an instance reports of a sync', () => {
  const said = (reply: Partial<SyncReply>) => {
    const warned: string[] = [];
    const printer = { warn: (text: string) => warned.push(text), detail: () => undefined } as unknown as Printer;
    describeReply(printer, 'i-1', {
      revertedCount: 0,
      reverted: [],
      kept: null,
      tree: '/t',
      user: 'u',
      ...reply,
    } as never);
    return warned;
  };

  it('names the place of files that were moved aside, also if no synced file was put back', () => {
    expect(said({ kept: '/t/kept/1' })).toEqual([expect.stringMatching(/in the way of this sync.*in \/t\/kept\/1 /)]);
    expect(said({ kept: '/t/kept/1', revertedCount: 1, reverted: ['a.py'] })).toEqual([
      expect.stringMatching(/put back: a\.py; the replaced files are in \/t\/kept\/1/),
    ]);
  });

  it('warns of nothing if no file was changed on the instance', () => {
    expect(said({})).toEqual([]);
  });
});
