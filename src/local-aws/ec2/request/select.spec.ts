import fc from 'fast-check';
import { Form } from './form';
import { select } from './select';

/** What matches a filter's value, character by character. */
function matches(pattern: string, text: string): boolean {
  if (pattern === '') return text === '';
  const [first, rest] = [[...pattern][0], [...pattern].slice(1).join('')];
  if (first === '*') return matches(rest, text) || (text !== '' && matches(pattern, [...text].slice(1).join('')));
  const [char] = [...text];
  return char !== undefined && (first === '?' || first === char) && matches(rest, [...text].slice(1).join(''));
}

describe('the values of a filter', () => {
  it('are matched literally except for * and ?', () => {
    const text = fc.string({ unit: fc.constantFrom(...'ab.*?+[]\\^$(){}|\n😀'.match(/./gsu)!), maxLength: 6 });
    fc.assert(
      fc.property(text, text, (pattern, value) => {
        const form = new Form(new URLSearchParams({ 'Filter.1.Name': 'tag:a', 'Filter.1.Value.1': pattern }));
        const found = select(form, [value], {}, (row) => ({ a: row }));
        expect(found.length === 1).toBe(matches(pattern, value));
      }),
    );
  });
});
