import fc from 'fast-check';
import picomatch from 'picomatch';
import { assertGlob, globMatcher, portableExpression } from './glob';
import { GLOB, globSource } from './glob-expression';

const piece = fc.constantFrom(
  ...[
    '*',
    '**',
    '?',
    'a',
    'b',
    'ab',
    '.',
    '/',
    '**/',
    '/**',
    '-',
    '\\*',
    '\\-',
    '[ab]',
    '[!a]',
    '[^b]',
    '[.-0]',
    '[+-a]',
  ],
  ...['{a,b}', '{a,*b}', '@(a|b)', '?(a)', '*(a|b)', '+(a)', '!(a)', '$', '^', '+', '(', ')', ' ', '1', '\n', 'é'],
);
const pattern = fc.array(piece, { minLength: 1, maxLength: 12 }).map((pieces) => pieces.join(''));
const path = fc
  .array(fc.constantFrom('a', 'b', 'ab', 'ba', '.', '-', '/', '*', '+', '$', ' ', '1', '\n', 'é', 'A'), {
    maxLength: 14,
  })
  .map((pieces) => pieces.join(''));

describe('the expression of a glob', () => {
  it('matches the same paths as the glob', () => {
    let matched = 0;
    let committed = 0;
    fc.assert(
      fc.property(pattern, fc.array(path, { minLength: 8, maxLength: 8 }), (glob, paths) => {
        // Picomatch repeats what is before such a "+".
        fc.pre(!/[}\]]\+(?!\()/.test(glob));
        let original: RegExp;
        try {
          original = picomatch.makeRe(glob, GLOB);
        } catch {
          return;
        }
        const ours = new RegExp(globSource(glob), 's');
        committed += ours.source === original.source ? 0 : 1;
        for (const each of paths) {
          matched += original.test(each) ? 1 : 0;
          expect([each, ours.test(each)]).toEqual([each, original.test(each)]);
        }
      }),
      { numRuns: 3000 },
    );
    expect(matched).toBeGreaterThan(200);
    expect(committed).toBeGreaterThan(50);
  });

  it('takes a plus after braces or a class literally, as a shell does', () => {
    const matches = (glob: string) => globMatcher({ written: glob, root: '', pattern: glob });
    const first = fc.constantFrom(
      ['{a,b}', 'a', 'b'],
      ['{*.pt,a*}', 'x.pt', 'ab'],
      ['[ab]', 'a', 'b'],
      ['[^c]', 'a', 'b'],
    );
    fc.assert(
      fc.property(first, fc.constantFrom('', 'b', '*', '{c,d}', '+', '+a'), ([braces, ...each], rest) => {
        const end = rest.replace('*', 'xyz').replace('{c,d}', 'd');
        for (const one of each) {
          expect(matches(`${braces}+${rest}`)(`${one}+${end}`)).toBe(true);
          expect(matches(`${braces}+${rest}`)(`${one}${one}${end}`)).toBe(false);
        }
      }),
    );
    // An escape, and a group that is repeated, stay what they are.
    expect(['a+', 'aa+', 'ab', 'abb'].map(matches('{a,aa}\\+'))).toEqual([true, true, false, false]);
    expect(['a+', 'aa+', 'ab', 'abb'].map(matches('{a,aa}+(b)'))).toEqual([false, false, true, true]);
  });

  it('is fast also for names that were chosen to make it slow', () => {
    const started = Date.now();
    const dashes = '-'.repeat(255);
    const deep = `${'a'.repeat(20)}/`.repeat(190);
    for (const glob of ['*-*-*-*.pt', '**/*-*-*-*.pt', '*-*[a-z-]*-*.pt', '*-*/*-*-*/*-*/b', '**/*a*/**/*a*.pt']) {
      const matches = globMatcher({ written: glob, root: '', pattern: glob });
      for (const name of [dashes, `${dashes}/`.repeat(15) + 'x', `${deep}x`]) expect(matches(name)).toBe(false);
    }
    // Some of these took more than five minutes each.
    expect(Date.now() - started).toBeLessThan(30_000);
  });

  it.each(['**/*a*/**/*a*/**/*a*.pt', '*{a,b}*/*{a,b}*/*{a,b}*/c', '{a,aa}'.repeat(25), '@(a|a)'.repeat(22)])(
    'is refused if a path of 4,096 characters could match it in too many ways: %s',
    (glob) => {
      expect(() => assertGlob(glob)).toThrow(/wildcards|alternatives/);
    },
  );

  it.each([
    '**/a/**/b/**',
    '**/*{train,val}*.{csv,json}',
    '*-*-*-*.pt',
    'runs/**/*.{pt,ckpt,safetensors}',
    '**/*_*_*/**',
  ])('is accepted if its wildcards are few: %s', (glob) => {
    expect(() => portableExpression(glob)).not.toThrow();
  });
});
