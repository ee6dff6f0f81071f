import { reportWarnings } from './run-warnings';

describe('the warnings of a run that has ended', () => {
  it('name what could not be saved and what was left running, as text that is safe to print', () => {
    const said: string[] = [];
    const printer = { warn: (text: string) => void said.push(text) };
    reportWarnings(printer, {
      trouble: 'a checkpoint can not be saved: a\u001b[31m: it is sparse',
      warnings: ['left'],
    });
    expect(said).toEqual(['a checkpoint can not be saved: a: it is sparse', 'left']);
    said.length = 0;
    reportWarnings(printer, { trouble: null, warnings: [] });
    expect(said).toEqual([]);
  });
});
