import fc from 'fast-check';
import { newRunId } from '../run/record/run-id';
import { isOf } from './named-run';

describe('the project of a run', () => {
  it('is found from the id of any run of any project', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary' }),
        fc.date({ noInvalidDate: true, min: new Date(0), max: new Date('9999-01-01') }),
        (name, now) => {
          expect(isOf(newRunId(name, now), { name })).toBe(true);
        },
      ),
    );
  });

  it('is null for the id of another project, and refuses a text that is no id', () => {
    const id = newRunId('digits', new Date());
    expect(isOf(id, { name: 'digit' })).toBe(false);
    for (const no of ['', 'digits', `${id}/..`, `../${id}`])
      expect(() => isOf(no, { name: 'x' })).toThrow(/is not a run id/);
  });
});
