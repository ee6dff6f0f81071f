import { program } from './program';

describe('a wrong command line of nx-ec2', () => {
  let exits: jest.SpyInstance;
  beforeEach(() => {
    for (const stream of [process.stdout, process.stderr]) jest.spyOn(stream, 'write').mockReturnValue(true);
    exits = jest.spyOn(process, 'exit').mockImplementation((code) => {
      throw new Error(`exited with ${code}`);
    });
  });
  afterEach(() => jest.restoreAllMocks());

  const exitOf = async (...words: string[]) => {
    await expect(program.parseAsync(words, { from: 'user' })).rejects.toThrow('exited');
    return exits.mock.calls[0][0];
  };

  it.each([
    ['an unknown option', ['runs', 'wait', 'last', '--timeout', '5']],
    ['an option without its value', ['runs', 'logs', '--tail']],
    ['a word too many', ['runs', 'status', 'last', 'other']],
    ['an unknown command', ['runs', 'wiat']],
    ['no command', ['runs']],
  ])('of nx-ec2 runs exits with another code than a run that failed: %s', async (_, words) => {
    expect(await exitOf(...words)).toBe(125);
  });

  it('with --json prints one machine-readable line on stdout, also for a failure', async () => {
    const argv = jest.replaceProperty(process, 'argv', [...process.argv, '--json']);
    const stdout = process.stdout.write as jest.Mock;
    await exitOf('runs', 'wait', 'last', '--timeout', '5', '--json');
    const lines = stdout.mock.calls.map(([text]) => String(text)).filter((text) => text.startsWith('{'));
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      { success: false, error: { code: 'COMMAND_LINE_INVALID', message: "unknown option '--timeout'" } },
    ]);
    stdout.mockClear();
    exits.mockClear();
    await exitOf('runs', 'wait', '--help', '--json');
    expect(stdout.mock.calls.join('')).not.toContain('{');
    argv.restore();
  });

  it('of another command exits with 1, and --help with 0', async () => {
    expect(await exitOf('bogus')).toBe(1);
    exits.mockClear();
    expect(await exitOf('runs', 'wait', '--help')).toBe(0);
  });
});
