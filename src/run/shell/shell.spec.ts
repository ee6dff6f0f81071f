import { mkdirSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { TerminateInstancesCommand } from '@aws-sdk/client-ec2';
import { shellCommand } from '../../command/session/shell-command';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { Pipeline, startPipeline } from '../pipeline.fixture';
import { openShell, type Terminal } from './shell';
import { until } from '../../system/until.fixture';

const RUN = '20260101-000000-model-abcdef';

describe('a shell', () => {
  let at: Fixture;
  let pipeline: Pipeline;
  let root: string;
  beforeEach(async () => {
    at = await startPipeline();
    root = join(at.aws.instances.disk(at.aws.named.get('box')!.id), 'root');
    pipeline = await new Pipeline(at, 'auto').open({ script: 'train.py' });
    pipeline.write('model/train.py', 'print(1)\n');
  });
  afterEach(async () => {
    pipeline.close();
    await at.close();
  });

  /** A terminal whose keys are pressed by `type`. */
  const terminal = () => {
    const shown: Buffer[] = [];
    const raw: boolean[] = [];
    const stdin = Object.assign(new PassThrough(), {
      isTTY: true,
      isRaw: false,
      setRawMode: (on: boolean) => void raw.push(on),
    });
    const stdout = Object.assign(new PassThrough(), { columns: 90, rows: 30 });
    stdout.on('data', (data: Buffer) => shown.push(data));
    const text = () => Buffer.concat(shown).toString();
    return {
      both: { stdin, stdout } as unknown as Terminal,
      stdout,
      raw,
      text,
      type: (keys: string) => stdin.write(keys),
      said: async (word: string | RegExp) => {
        const there = () => (typeof word === 'string' ? text().includes(word) : word.test(text()));
        await until(there, { what: () => `${word} in ${text()}` });
      },
      listeners: () => stdin.listenerCount('data') + stdout.listenerCount('resize'),
    };
  };
  const open = (on: Terminal, run: string | null = null, signal = new AbortController().signal) => {
    const { context } = pipeline;
    const { tree, project } = context;
    const command = shellCommand({ root: null, run, tree, project, projectRoot: 'model', user: null });
    return openShell(context, command, signal, on);
  };
  const addRun = (environment: object | null) => {
    const { tree, project } = pipeline.context;
    const home = join(root, 'runs', RUN);
    mkdirSync(join(home, 'work/model'), { recursive: true });
    writeFileSync(join(home, 'run.json'), JSON.stringify({ tree, project, user: userInfo().username }));
    if (environment) writeFileSync(join(home, 'environment.json'), JSON.stringify(environment), { mode: 0o600 });
    return home;
  };

  it('starts in the synced project if there is no run, has the terminal’s size, and ends with its exit code', async () => {
    await pipeline.sync();
    const { both, text, type, said, stdout, raw, listeners } = terminal();
    const before = listeners();
    const ended = open(both);
    await said('the synced files: ');
    type('pwd; stty size; ls\r');
    await said(/\/trees\/[^/]+\/files\/model\r\n/);
    await said('30 90');
    await said('train.py\r\n');
    Object.assign(stdout, { columns: 100, rows: 40 });
    stdout.emit('resize');
    type('stty size\r');
    await said('40 100');
    type('sleep 60\r');
    await said(/sleep 60\r\n/);
    type('\u0003');
    type('exit 3\r');
    expect(await ended).toBe(3);
    expect(text()).not.toContain('\u001b_');
    expect(raw).toEqual([true, false]);
    expect(listeners()).toBe(before);
  });

  it('follows the size of the terminal even if its standard output is another file and no signal comes', async () => {
    await pipeline.sync();
    const { both, type, said, text } = terminal();
    let size = { columns: 133, rows: 41 };
    const ended = open({ ...both, size: () => size });
    await said('the synced files: ');
    type('stty size\r');
    await said('41 133');
    size = { columns: 101, rows: 31 };
    type('until stty size | grep "^31 101$"; do sleep 0.1; done\r');
    await said('31 101\r\n');
    type('exit\r');
    expect(await ended).toBe(0);
    expect(text()).not.toContain('30 90');
  });

  it('starts in the directory of a run with its variables if there is one, or if its id is given', async () => {
    await pipeline.sync();
    const user = userInfo().username;
    const home = addRun(null);
    writeFileSync(
      join(home, 'environment.json'),
      JSON.stringify({ directory: join(home, 'work/model'), variables: { ODD: "it's $HOME \u00fc" }, user }),
      { mode: 0o600 },
    );
    for (const run of [null, RUN]) {
      const { both, type, said } = terminal();
      const ended = open(both, run);
      await said(`run ${RUN}: `);
      type('pwd; echo "<$ODD>"; exit\r');
      await said(`${join(home, 'work', 'model')}\r\n`);
      await said("<it's $HOME \u00fc>");
      expect(await ended).toBe(0);
    }
  });

  it('starts in the files of a run that has no environment yet', async () => {
    addRun(null);
    const { both, type, said } = terminal();
    const ended = open(both);
    await said('without its environment');
    type('exit\r');
    expect(await ended).toBe(0);
  });

  it('names a run that does not exist', async () => {
    await expect(open(terminal().both)).rejects.toMatchObject({ code: 'NOTHING_SYNCED' });
    await pipeline.sync();
    await expect(open(terminal().both, '20260101-000000-other-abcdef')).rejects.toMatchObject({ code: 'NO_RUN' });
    await expect(open(terminal().both, '../../etc')).rejects.toMatchObject({ code: 'NO_RUN' });
    const without = terminal();
    Object.assign(without.both.stdin, { isTTY: false });
    await expect(open(without.both)).rejects.toMatchObject({ code: 'NO_TERMINAL' });
    expect(without.raw).toEqual([]);
  });

  it('restores the terminal if its instance is gone, and after a signal', async () => {
    await pipeline.sync();
    const stopped = terminal();
    const controller = new AbortController();
    const left = open(stopped.both, null, controller.signal);
    await stopped.said('the synced files');
    controller.abort(new Error('SIGTERM'));
    await expect(left).rejects.toThrow('SIGTERM');
    expect(stopped.raw).toEqual([true, false]);
    const gone = terminal();
    const ended = open(gone.both);
    await gone.said('the synced files');
    await at.ec2.send(new TerminateInstancesCommand({ InstanceIds: [pipeline.context.instance] }));
    await expect(ended).rejects.toMatchObject({ code: 'SHELL_ENDED' });
    expect(gone.raw).toEqual([true, false]);
  });
});
