import type { ExecutorContext } from '@nx/devkit';
import fc from 'fast-check';
import yargsParser from 'yargs-parser';
import { asTyped, parseText, typedOptions } from './typed-options';
import { textOptions } from '../config/schema/target-options';
import type { TargetName } from '../config/schema/executor-options';

/** As Nx parses the words of a task. */
const byNx = (words: string[]) =>
  yargsParser(words, { configuration: { 'camel-case-expansion': false, 'dot-notation': true } }) as Record<
    string,
    unknown
  >;

/** What an executor works with, of these words. */
const restored = (target: TargetName, words: string[]) => {
  const typed = parseText(words);
  return textOptions(target, byNx(words), (key, value) => asTyped(value, typed[key]));
};

const digits = fc.stringMatching(/^\d{1,20}$/);
const numeric = fc.oneof(
  fc.constantFrom(
    '81919e4',
    '0x1f',
    '20230613.10',
    '007',
    '1e3',
    '1.0',
    '.5',
    '5.',
    '-0',
    '1E-7',
    '0b11',
    '1_000',
    'Infinity',
    'NaN',
  ),
  digits,
  fc.tuple(digits, digits).map((parts) => parts.join('.')),
  fc.tuple(digits, fc.integer({ min: 0, max: 40 })).map((parts) => parts.join('e')),
  fc.stringMatching(/^0x[0-9a-fA-F]{1,12}$/),
);
const text = fc.oneof(
  { weight: 3, arbitrary: numeric },
  { weight: 2, arbitrary: fc.string() },
  fc.constantFrom('"a b"', "'a'", '""', '"', 'true'),
);

describe('an option that is text', () => {
  const options: [TargetName, string][] = [
    ['remote-train', 'args'],
    ['remote-train', 'command'],
    ['remote-train', 'script'],
    ['remote-train', 'resumeFrom'],
    ['remote-train', 'remoteRoot'],
    ['remote-train', 'instance'],
    ['remote-submit', 'bucket'],
    ['remote-submit', 'prefix'],
    ['remote-sync', 'profile'],
    ['remote-exec', 'command'],
    ['remote-exec', 'run'],
    ['remote-pull', 'path'],
    ['remote-pull', 'output'],
    ['remote-pull', 'checkpoints'],
    ['remote-logs', 'since'],
    ['remote-down', 'region'],
  ];

  it('reaches the executor as it was typed, even if it looks like a number', () => {
    fc.assert(
      fc.property(fc.constantFrom(...options), text, ([target, name], value) => {
        expect(restored(target, [`--${name}=${value}`])[name]).toBe(value);
      }),
    );
  });

  it('is a number where only texts of another form are allowed beside numbers', () => {
    const nodes = (value: string) => restored('remote-train', [`--nodes=${value}`, `--processes=${value}`]);
    expect(nodes('2')).toMatchObject({ nodes: 2, processes: 2 });
    expect(nodes('2:4').nodes).toBe('2:4');
    expect(nodes('gpu').processes).toBe('gpu');
    // Neither: the message is about what was typed.
    expect(nodes('65').nodes).toBe('65');
  });

  it('does so in a list, in an object, after a space, and by its alias', () => {
    fc.assert(
      fc.property(
        numeric.filter((each) => !each.startsWith('-')),
        numeric,
        (one, two) => {
          const words = ['--args', one, `--args=${two}`, `--env.TAG=${one}`, `--remote-root=${two}`];
          const typed = parseText(words);
          expect(asTyped(byNx(words).args, typed.args)).toEqual([one, two]);
          expect(asTyped(byNx(words).env, typed.env)).toEqual({ TAG: one });
          expect(asTyped(0, typed.remoteRoot)).toBe(two);
        },
      ),
    );
  });

  it('is not what an option of type number becomes', () => {
    expect(restored('remote-train', ['--cores=4', '--pricePerHour=1e0', '--memory=8'])).toMatchObject({
      cores: 4,
      pricePerHour: 1,
      memory: '8',
    });
    expect(restored('remote-logs', ['--tail=1e1'])).toMatchObject({ tail: 10 });
    expect(restored('remote-status', ['--limit=5'])).toMatchObject({ limit: 5 });
  });

  it('is unchanged if it was not typed, or if it means yes or no', () => {
    expect(asTyped(31, undefined)).toBe(31);
    expect(restored('remote-logs', ['--follow=false', '--run=7'])).toEqual({ _: [], follow: 'false', run: '7' });
    expect(asTyped(false, 'false')).toBe(false);
    expect(asTyped(['1000', 'B'], '1e3,B')).toEqual(['1e3', 'B']);
  });

  it('is found in the command line that Nx keeps for the task', () => {
    const task = (target: string, words: string[]) => ({
      target: { project: 'm', target },
      overrides: { args: 31, __overrides_unparsed__: words },
    });
    const context = {
      projectName: 'm',
      targetName: 'fit',
      taskGraph: { tasks: { 'm:other': task('other', ['--args=no']), 'm:fit': task('fit', ['--args=0x1f']) } },
    } as unknown as ExecutorContext;
    expect(typedOptions(context)).toMatchObject({ args: '0x1f' });
  });
});
