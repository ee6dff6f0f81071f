import { assertNoEmptyOption } from './target-options';
import type { TargetName } from './executor-options';

describe('an empty option value', () => {
  it.each<[TargetName, string]>([
    ['remote-cancel', 'run'],
    ['remote-logs', 'run'],
    ['remote-logs', 'since'],
    ['remote-exec', 'run'],
    ['remote-pull', 'output'],
    ['remote-pull', 'path'],
    ['remote-pull', 'checkpoints'],
    ['remote-train', 'resumeFrom'],
    ['remote-submit', 'resumeFrom'],
  ])('of %s is refused instead of taken as the default: --%s', (target, name) => {
    for (const value of ['', [''], ['a', '']])
      expect(() => assertNoEmptyOption(target, { [name]: value })).toThrow(
        `--${name} is empty.\nGive --${name} a value, or leave it out.`,
      );
    for (const value of [undefined, 'last', true, ['a']]) assertNoEmptyOption(target, { [name]: value });
  });

  it('is allowed in the arguments of a program and in a command', () => {
    assertNoEmptyOption('remote-train', { args: '' });
    assertNoEmptyOption('remote-exec', { command: '' });
  });
});
