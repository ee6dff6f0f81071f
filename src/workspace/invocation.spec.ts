import type { ExecutorContext } from '@nx/devkit';
import { askedConfiguration, targetCommand, assertKnownConfiguration } from './invocation';

const context = {
  root: '/w',
  cwd: '/w',
  isVerbose: false,
  projectName: 'm',
  targetName: 'fit',
  projectsConfigurations: {
    version: 2,
    projects: {
      m: {
        root: 'm',
        targets: {
          fit: { executor: 'nx-ec2:remote-train', configurations: { spot: {} } },
          log: { executor: 'nx-ec2:remote-logs' },
        },
      },
    },
  },
} as unknown as ExecutorContext;

describe('the command line of nx', () => {
  it.each([
    [['nx', 'run', 'm:fit', '-c', 'spot'], 'spot'],
    [['nx', 'run', 'm:fit', '-c=spot'], 'spot'],
    [['nx', 'run', 'm:fit', '--configuration=a', '--configuration', 'b'], 'b'],
    [['nx', 'run', 'm:fit', '--', '-c', 'spot'], undefined],
    [['nx', 'run', 'm:fit'], undefined],
    [['nx', 'run', 'm:fit:spot'], 'spot'],
    [['nx', 'run', 'm:fitter:spot'], undefined],
  ])('%j runs %s', (args, asked) => {
    expect(askedConfiguration(args, 'm:fit')).toBe(asked);
  });

  it('is refused if it names a configuration that the target does not have', () => {
    expect(() => assertKnownConfiguration(context, ['nx', 'run', 'm:fit', '-c', 'sopt'])).toThrow(
      /no configuration "sopt"[^]*It has: spot/,
    );
    assertKnownConfiguration({ ...context, configurationName: 'spot' }, ['nx', 'run', 'm:fit', '-c', 'spot']);
    assertKnownConfiguration(context, null);
  });

  it('is shown with the name that this workspace gives a target', () => {
    expect(targetCommand(context, 'remote-logs')).toBe('nx run m:log');
    expect(targetCommand(context, 'remote-cancel')).toBe('nx run m:remote-cancel');
  });
});
