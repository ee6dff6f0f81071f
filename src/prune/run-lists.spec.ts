import { RUN } from '../run/record/saved-run.fixture';
import { parseUnverified } from './run-lists';

describe('what an unverified record names', () => {
  const read = (record: object) => parseUnverified(Buffer.from(JSON.stringify({ v: 2, mac: '', record })));

  it('includes the run that it was started from', () => {
    expect(read({ restoredFrom: { run: RUN } }).restoredFrom).toBe(RUN);
  });

  it.each([
    ['a long text', 'x'.repeat(900_000)],
    ['a path', `${RUN}/../x`],
    ['no text', 5],
  ])('does not include %s instead, of which a store could hold any number', (_, run) => {
    expect(read({ restoredFrom: { run } })).toEqual(read({}));
  });
});
