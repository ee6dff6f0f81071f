import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { World } from '../worlds';
import { artifact, begin, commandsOf, outcome, RESULT, resultOf, STEPS, TRAINING } from './training';

/** Runs that continue without a client, and are found again. */
export function alone(at: () => World): void {
  it.concurrent('a training that its client leaves ends without it, and its results and log are complete', async () => {
    const world = at();
    const { nx, aws } = world;
    // It continues after its sixth step when the file exists.
    const waits = `    while step == 6 and not os.path.exists(sys.argv[2]):\n        time.sleep(0.1)\n    time.sleep(`;
    const go = join(world.directory, 'go');
    const instance = begin(world, 'left', TRAINING.replace('    time.sleep(', waits), {
      train: { args: ['0.5', go] },
    });
    const { id } = await nx.run(['left:remote-submit']).ends(0);
    const listed = await nx.run(['left:remote-status']).ends(0);
    expect(listed.text).toMatch(new RegExp(`${id} +(running|preparing|saving) .* local`));
    const early = await nx.run(['left:remote-logs', '--no-follow']).ends(0);
    expect(early.steps.length).toBeLessThan(7);
    const watched = nx.run(['left:remote-status', '--run=last', '--watch']);
    await watched.said(/state +running/);
    writeFileSync(go, '');
    await watched.ends(0);
    expect(watched.text).toMatch(/state +running[^]*state +succeeded after/);

    const commands = commandsOf(world, instance);
    const again = await nx.run(['left:remote-train', '--json']).ends(0);
    expect(again.text).toContain(`This training has ended already: ${id}`);
    expect(again.result).toMatchObject({ success: true, run: id, attached: 'ended', exitCode: 0 });
    expect(again.steps).toEqual(STEPS);
    expect(resultOf(nx, 'left')).toEqual(RESULT);

    aws.instances.change(aws.instances.get(instance)!, 'terminated');
    const tail = await nx.run(['left:remote-logs', '--tail=3']).ends(0);
    expect(tail.steps).toEqual([10, 11, 12]);
    const { endedAt } = (await nx.run(['left:remote-status', `--run=${id}`, '--json']).ends(0)).result.runs[0];
    const since = await nx.run(['left:remote-logs', `--since=${new Date(endedAt - 2500).toISOString()}`]).ends(0);
    expect(since.steps.at(-1)).toBe(12);
    expect(since.steps.length).toBeLessThan(12);

    const output = join(nx.workspace, 'models/left/artifacts');
    rmSync(output, { recursive: true });
    const pulled = await nx.run(['left:remote-pull', `--run=${id}`, '--checkpoints=last']).ends(0);
    expect(pulled.text).toMatch(/Pulled 2 files/);
    expect(resultOf(nx, 'left')).toEqual(RESULT);
    const [kept] = readdirSync(join(output, 'checkpoints'));
    expect(JSON.parse(readFileSync(join(output, 'checkpoints', kept, 'step-0012.json'), 'utf8'))).toEqual([12, 650]);
    expect((await nx.run(['left:remote-pull', '--checkpoints=last']).ends(0)).text).toContain('2 there already');
    expect(commandsOf(world, instance)).toBe(commands);
  });

  it.concurrent('the whole of a long log can be read after the run, with its outcome', async () => {
    const world = at();
    const { nx } = world;
    begin(world, 'long', 'for line in range(40000):\n    print("line of the training", line)\n', {});
    const { id } = await nx.run(['long:remote-train']).ends(0);
    const file = join(world.directory, 'long.log');
    expect(await nx.runToFile(['long:remote-logs', `--run=${id}`], file)).toBe(0);
    const text = readFileSync(file, 'utf8');
    // Nx cuts a line where a piece ends that it reads. What would be lost is the end.
    expect(text.match(/line of the training \d+\n/g)!.length).toBeGreaterThan(39_900);
    expect(text).toMatch(/line of the training 39999\n[^]*The training \S+ succeeded/);
  });

  it.concurrent('a detached run needs an instance role, and a followed run does not', async () => {
    const world = at();
    const { nx, aws } = world;
    const instance = begin(world, 'roleless', TRAINING, { train: { args: '0.1' } });
    aws.role(instance).deny.push('s3:PutObject');
    const denied = await nx.run(['roleless:remote-submit', '--json']).ends(1);
    expect(denied.text).toMatch(/s3:PutObject/);
    aws.role(instance).name = null;
    aws.role(instance).expire();
    const refused = await nx.run(['roleless:remote-submit', '--json']).ends(1);
    expect(refused.result.error).toMatchObject({ code: 'NO_ROLE', message: expect.stringContaining('remote-train') });
    const runs = join(aws.instances.disk(instance), 'root/runs');
    expect(existsSync(runs) ? readdirSync(runs) : []).toEqual([]);
    const trained = await nx.run(['roleless:remote-train']).ends(0);
    expect(trained.steps).toEqual(STEPS);
    expect(resultOf(nx, 'roleless')).toEqual(RESULT);
  });

  it.concurrent(
    'a training that fails with a retryable exit code is retried, and a stopped one can be resumed',
    async () => {
      const world = at();
      const { nx } = world;
      const script = TRAINING.replace(
        '    time.sleep(',
        '    if step == 5 and not began:\n        sys.exit(75)\n    time.sleep(',
      ).replace('float(sys.argv[1]) if len(sys.argv) > 1', 'float(sys.argv[1]) if len(sys.argv) > 1');
      begin(world, 'again', `import sys\nprint("words", sys.argv[1:], flush=True)\n${script}`, {
        train: { args: '0.2', retry: { exitCodes: [75] }, resumeArgs: '--resumed', cores: 1 },
      });
      const first = await nx.run(['again:remote-train', '--json']).ends(0);
      expect(first.steps).toEqual(STEPS);
      expect(first.text).toMatch(
        /words \['0.2'\][^]*exited with 75, attempt 2 of 3 begins[^]*words \['0.2', '--resumed'\]/,
      );
      expect(first.result).toMatchObject({ attempts: 2, exitCode: 0 });
      expect(await outcome(nx, 'again', first.id)).toBe('succeeded');
      const second = await nx.run(['again:remote-train', '--resumeFrom=last']).ends(0);
      expect(second.id).not.toBe(first.id);
      expect(second.text).toContain("words ['0.2', '--resumed']");
      expect(JSON.parse(artifact(nx, 'again', 'result.json')!)).toEqual({ total: 650, began: 12 });
    },
  );
}
