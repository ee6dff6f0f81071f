import { execFileSync } from 'node:child_process';
import type { ExecutorContext } from '@nx/devkit';
import fc from 'fast-check';
import { splitWords } from '../../config/syntax/words';
import { assertNoForeignWords, assertNoPassThrough, foreignWords } from './command-line-words';
import { optionNames } from '../../config/schema/target-options';
import type { TargetName } from '../../config/schema/executor-options';

const context = {
  projectName: 'm',
  projectsConfigurations: { version: 2, projects: { m: { root: 'm', targets: {} } } },
} as unknown as ExecutorContext;

const said = (name: TargetName, ...words: string[]) => {
  try {
    assertNoForeignWords(name, context, words);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
};

describe('words of the command line', () => {
  it.each<[TargetName, string[], string]>([
    [
      'remote-train',
      ['--epochs=3'],
      '--epochs=3 is not an option of remote-train.\nWrite: nx run m:remote-train --args="--epochs=3"',
    ],
    [
      'remote-submit',
      ['--json', '--epochs', '3', '--learning-rate=0.1'],
      '--epochs is not an option of remote-submit.\nWrite: nx run m:remote-submit --args="--epochs 3 --learning-rate=0.1"',
    ],
    [
      'remote-train',
      ['train.py', '--env.TAG=a'],
      'remote-train takes only options, and train.py is not one.\nWrite: nx run m:remote-train --args="train.py"',
    ],
    [
      'remote-exec',
      ['nvidia-smi', '-L'],
      'remote-exec takes only options, and nvidia-smi is not one.\nWrite: nx run m:remote-exec --command="nvidia-smi -L"',
    ],
    [
      'remote-logs',
      ['20261124-043012-digits-x7k2qa'],
      'remote-logs takes only options, and 20261124-043012-digits-x7k2qa is not one.\nWrite: nx run m:remote-logs --run=20261124-043012-digits-x7k2qa',
    ],
    [
      'remote-status',
      ['last', '--json'],
      'remote-status takes only options, and last is not one.\nTo list its options: nx run m:remote-status --help',
    ],
  ])('of %s that no option takes are refused, with the form that works: %j', (name, words, message) => {
    expect(said(name, ...words)).toBe(message);
  });

  it('are accepted if they are options, or left to the configuration, which has the better message', () => {
    for (const words of [['--args=--epochs 3'], ['--args', '3', '--remote-root=/x'], ['--env.A=1'], ['--no-sync'], []])
      expect(said('remote-train', ...words)).toBeNull();
    // Misspelled, or of a target that runs nothing of the user's.
    expect(said('remote-train', '--dryrun')).toBeNull();
    expect(said('remote-status', '--epochs=3')).toBeNull();
  });

  it('after -- are refused with the option of the target that takes them', () => {
    const refused = (name: TargetName, ...words: string[]) =>
      expect(() => assertNoPassThrough(name, ['nx', 'run', 'm:fit', '--', ...words]));
    refused('remote-train', '--lr', '0.1').toThrow('Write: --args="--lr 0.1"');
    refused('remote-exec', 'nvidia-smi', '-L').toThrow('Write: --command="nvidia-smi -L"');
    refused('remote-status', '--json').toThrow('remote-status takes no such arguments');
    assertNoPassThrough('remote-train', ['nx', 'run', 'm:fit', '--']);
    assertNoPassThrough('remote-train', ['nx', 'run', 'm:fit', '--args=--lr 0.1']);
    assertNoPassThrough('remote-train', null);
  });

  it('appear in the suggested form as they were typed, whatever they contain', () => {
    const word = fc.oneof(fc.string({ minLength: 1 }), fc.constantFrom('a b', '$HOME', "it's", '"', '`x`', '\\', '!'));
    fc.assert(
      fc.property(
        fc.array(
          word.filter((each) => !/[\0\r\n\p{C}]/u.test(each)),
          { minLength: 1 },
        ),
        (words) => {
          let message = '';
          try {
            assertNoPassThrough('remote-exec', ['nx', '--', ...words]);
          } catch (error) {
            message = (error as Error).message;
          }
          const option = /Write: ([^]*)$/.exec(message)![1];
          const [value] = execFileSync('sh', ['-c', `printf '%s\\0' ${option}`], { encoding: 'utf8' }).split('\0');
          expect(splitWords(value.slice('--command='.length), '--command')).toEqual(words);
        },
      ),
      { numRuns: 30 },
    );
  });

  it('belong to the option that takes them', () => {
    const known = optionNames('remote-train');
    fc.assert(
      fc.property(
        fc.array(
          fc.constantFrom(['--json'], ['--args=x'], ['--timeout', '8h'], ['--env.A', '1'], ['--epochs', '3'], ['-x']),
        ),
        (groups) => {
          const expected = groups.filter(([first]) => ['--epochs', '-x'].includes(first)).flat();
          expect(foreignWords(groups.flat(), known)).toEqual(expected);
        },
      ),
    );
  });
});
