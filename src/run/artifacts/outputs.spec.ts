import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Fixture } from '../../local-aws/local-aws.fixture';
import { collectArtifacts } from './collect';
import { assertOutputsSaved } from './assert-saved';
import { assertCacheable, suggestedOutputs } from './extra-files';
import type { Problem } from '../../report/problem';
import { listed, Pipeline, startPipeline } from '../pipeline.fixture';
import { pullRun } from './pull';

/** Results come back from wherever a training writes them, over the wire of local AWS. */
describe('a file that a training writes', () => {
  let at: Fixture;
  let pipe: Pipeline;

  beforeAll(async () => void (at = await startPipeline()));
  afterAll(() => at.close());
  beforeEach(async () => void (pipe = await new Pipeline(at, 'store').open()));
  afterEach(() => pipe.close());

  const writing = (...paths: string[]) =>
    pipe.write(
      'model/train.py',
      [
        'import os',
        `for path in ${JSON.stringify(paths)}:`,
        '    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)',
        '    open(path, "w").write("of the run")',
      ].join('\n'),
    );
  const train = async () => (await pipe.follow((await pipe.launch()).run)).run;
  const read = (path: string) => {
    const file = join(pipe.workspace, 'model', path);
    return existsSync(file) ? readFileSync(file, 'utf8') : null;
  };

  it('is downloaded if it is in an output; files that the run did not write stay as they are', async () => {
    writing('snapshot.pt', 'multirun/2026-11-28/model.bin', 'deep/a/b.ckpt');
    pipe.write('model/multirun/2026-11-27/model.bin', 'of yesterday');
    pipe.write('model/artifacts/older.bin', 'of yesterday');
    await pipe.open({ outputs: ['snapshot.pt', 'multirun/', '**/*.ckpt'] });
    const run = await train();
    const collected = await collectArtifacts(pipe.context, run);
    expect(['snapshot.pt', 'multirun/2026-11-28/model.bin', 'deep/a/b.ckpt'].map(read)).toEqual(
      Array(3).fill('of the run'),
    );
    expect(['multirun/2026-11-27/model.bin', 'artifacts/older.bin'].map(read)).toEqual(Array(2).fill('of yesterday'));
    expect(collected).toMatchObject({ extra: [], unsaved: [], heldBack: [] });
    expect(pipe.said.find((each) => each.startsWith('Artifacts:'))).toMatch(
      /^Artifacts: 3 files, 30 B, in model\/deep\/, model\/multirun\/, model\/snapshot\.pt$/,
    );
    // The next run's results lie beside them.
    writing('multirun/2026-11-29/model.bin');
    await collectArtifacts(pipe.context, await train());
    expect(listed(join(pipe.workspace, 'model/multirun'))).toEqual([
      '2026-11-27/model.bin',
      '2026-11-28/model.bin',
      '2026-11-29/model.bin',
    ]);
    expect(read('snapshot.pt')).toBe('of the run');
  });

  it('is saved and named if it is in no output, and the named command downloads it', async () => {
    writing('out/model.pt', 'out/log/a.txt', '../mlruns/0/meta.yaml', '__pycache__/x.pyc');
    const run = await train();
    const collected = await collectArtifacts(pipe.context, run);
    expect(read('out/model.pt')).toBeNull();
    expect(run.artifacts).toMatchObject({ files: 0, extra: { files: 3, bytes: 30, unsaved: 0 } });
    const said = pipe.said.find((each) => each.includes('outside its outputs'))!;
    expect(said).toMatch(/wrote 3 files \(30 B\) outside its outputs/);
    expect(said).toMatch(/ {2}out\/model\.pt {2}10 B\n/);
    expect(said).toContain('"train" in model/ec2.config.json: "outputs": ["out/"]');
    expect(said).toContain("Files outside the project can't be outputs");
    const paths = [...said.matchAll(/--path=(\S+)|'--path=([^']+)'/g)].map(([, plain, quoted]) => quoted ?? plain);
    expect(paths).toEqual(['out/**', '{workspaceRoot}/**']);
    expect(() => assertCacheable(run, pipe.context, collected)).toThrow(/wrote none of its 3 files to an output/);
    const output = join(pipe.workspace, 'model');
    const pull = (paths?: string[]) =>
      pullRun(pipe.context, run, { output, projectRoot: 'model', outputs: [], paths, limit: 1e9 });
    // Extra files come only where they are named.
    expect(await pull()).toMatchObject({ fetched: 0 });
    expect(await pull(paths)).toMatchObject({ fetched: 3, heldBack: [] });
    expect(['out/model.pt', 'out/log/a.txt', 'artifacts/workspace/mlruns/0/meta.yaml'].map(read)).toEqual(
      Array(3).fill('of the run'),
    );
  });

  it('is downloaded although a file outside the project would get the path of an artifact', async () => {
    writing('artifacts/workspace', 'artifacts/model.pt', '../mlruns/meta.yaml');
    const run = await train();
    const collected = await collectArtifacts(pipe.context, run);
    expect(collected).toMatchObject({ heldBack: [], extra: [{ name: '{workspaceRoot}/mlruns/meta.yaml' }] });
    expect(['artifacts/workspace', 'artifacts/model.pt'].map(read)).toEqual(Array(2).fill('of the run'));
    const output = join(pipe.workspace, 'elsewhere');
    const paths = ['**', '{workspaceRoot}/**'];
    const pulled = await pullRun(pipe.context, run, { output, projectRoot: 'model', outputs: [], paths, limit: 1e9 });
    expect(pulled).toMatchObject({ fetched: 2, heldBack: [{ path: 'artifacts/workspace/mlruns/meta.yaml' }] });
  });

  it('is downloaded from an earlier run when the configuration names it later, without another training', async () => {
    writing('out/model.pt');
    const first = await train();
    await pipe.open({ outputs: ['out/'] });
    const { run, attached } = await pipe.launch();
    expect([run.id, attached]).toEqual([first.id, 'ended']);
    const { run: ended } = await pipe.follow(run);
    const collected = await collectArtifacts(pipe.context, ended);
    expect(read('out/model.pt')).toBe('of the run');
    expect(collected.extra).toEqual([]);
    expect(() => assertCacheable(ended, pipe.context, collected)).not.toThrow();
  });

  it('is not downloaded through a link in the place of the output directory, and the error says what to do', async () => {
    pipe.write(
      'model/train.py',
      'import os, shutil\nshutil.rmtree("artifacts", ignore_errors=True)\nos.symlink("/etc", "artifacts")\n',
    );
    const run = await train();
    const { next, message } = (await collectArtifacts(pipe.context, run).catch((error: unknown) => error)) as Problem;
    expect(message).toMatch(/could not be saved: the output directory .*\(UNSAFE_PATH\)/);
    expect(next).toBe(
      `They are on ${run.instance} in ${run.directory} as long as that instance exists, and are not saved any more. Have the training leave a directory of its own there, no link. The same command trains again.`,
    );
    const again = (await pipe.launch()).run;
    expect(again.id).not.toBe(run.id);
    await pipe.follow(again);
  });

  it('is suggested as an addition to the outputs that the project has', async () => {
    writing('out/model.pt', 'notes.txt', 'scores.csv');
    await pipe.open({ outputs: ['out/'] });
    await collectArtifacts(pipe.context, await train());
    const said = pipe.said.find((each) => each.includes('outside its outputs'))!;
    expect(said).toContain('add them to "train.outputs" in model/ec2.config.json: "notes.txt", "scores.csv" (or');
  });

  it('fails the target if an output could not be saved, and the message names it, its place and what to change', () => {
    const at = (instance: string) => ({ instance, directory: '/var/lib/nx-ec2/runs/x' });
    const of = (path: string, unsaved?: 'changed' | 'files' | 'bytes', instance = 'i-0') => ({
      path,
      why: `of ${unsaved}`,
      ...(unsaved && { unsaved }),
      ...at(instance),
    });
    const run = { id: '20261128-154338-names-74hvaw', checkpoints: [] };
    expect(() => assertOutputsSaved(run, 'names', [of('artifacts/pipe')])).not.toThrow();
    const skipped = [of('l\u001b[31mog', 'changed'), of('pipe'), of('many', 'files', 'i-1'), of('big', 'bytes', 'i-1')];
    const refused = (checkpoints: never[] = []) =>
      expect(() => assertOutputsSaved({ ...run, checkpoints }, 'names', skipped));
    refused().toThrow(
      expect.objectContaining({
        code: 'COLLECT_FAILED',
        message: expect.stringContaining(
          'could not be saved: l\\u{1b}[31mog (of changed), many (of files), big (of bytes).\n',
        ),
        next: expect.stringMatching(/^To train again: nx run names:remote-train --rerun$/m),
      }),
    );
    refused().toThrow(
      /on i-0 in \/var\/lib\/nx-ec2\/runs\/x, and on i-1 in \S+ as long .*names:remote-shell --run=20261128-/,
    );
    refused().toThrow(/At most 100,000 files come back.* archive/);
    refused().toThrow(/raise "train\.maxArtifactSize"/);
    refused([{} as never]).toThrow(
      new RegExp(`last checkpoint: nx run names:remote-train --resumeFrom=${run.id}$`, 'm'),
    );
  });

  it('is not cached if the run wrote only checkpoints, and is downloaded once an output names it', async () => {
    writing('out/ckpt.pt');
    const checkpoints = { paths: ['out/*.pt'] };
    await pipe.open({ checkpoints });
    const first = await train();
    const collected = await collectArtifacts(pipe.context, first);
    expect(collected).toMatchObject({ artifacts: [], extra: [], unsaved: [] });
    const refused = () => assertCacheable(first, pipe.context, collected);
    expect(refused).toThrow('it left a checkpoint (./out/ckpt.pt) and no output');
    expect(refused).toThrow(
      expect.objectContaining({
        code: 'NOT_CACHED',
        next: expect.stringMatching(
          /"train" in model\/ec2\.config\.json: "outputs": \["out\/\*\.pt"\], and run the same command again[^\n]*\n[^\n]*--checkpoints=last/,
        ),
      }),
    );
    // Nx would list none of what was collected.
    rmSync(join(pipe.workspace, 'model/artifacts'), { recursive: true });
    await pipe.open({ checkpoints, outputs: ['out/*.pt'] });
    const { run, attached } = await pipe.launch();
    expect([run.id, attached]).toEqual([first.id, 'ended']);
    const again = await collectArtifacts(pipe.context, first);
    expect(read('out/ckpt.pt')).toBe('of the run');
    expect(() => assertCacheable(first, pipe.context, again)).not.toThrow();
  });

  it('is not cached if the run wrote only to the checkpoint directory', async () => {
    pipe.write(
      'model/train.py',
      'import os\nopen(os.environ["NX_EC2_CHECKPOINT_DIR"] + "/last.ckpt", "w").write("of the run")',
    );
    const run = await train();
    const collected = await collectArtifacts(pipe.context, run);
    expect(() => assertCacheable(run, pipe.context, collected)).toThrow(
      expect.objectContaining({ next: expect.stringContaining('write its result to NX_EC2_OUTPUT_DIR.') }),
    );
  });

  it('is neither saved nor named if it is scratch', async () => {
    writing('data/corpus.bin', 'out/model.pt');
    await pipe.open({ outputs: ['out/'], scratch: ['data/'] });
    const run = await train();
    expect(run.artifacts).toMatchObject({ files: 1, extra: { files: 0, unsaved: 0 } });
    expect((await collectArtifacts(pipe.context, run)).extra).toEqual([]);
    expect(pipe.said.join('\n')).not.toContain('outside its outputs');
  });

  it('is named if it exceeds the limit of what is saved', async () => {
    writing('out/model.pt');
    await pipe.open({ extraLimit: '5B' });
    const run = await train();
    const collected = await collectArtifacts(pipe.context, run);
    expect(collected.unsaved).toMatchObject([{ name: 'out/model.pt', why: 'over the limit', size: 10 }]);
    expect(pipe.said.join('\n')).toMatch(
      /1 file outside its outputs that was not saved \(over the limit\):\n {2}out\/model\.pt/,
    );
    expect(() => assertCacheable(run, pipe.context, collected)).toThrow(/wrote none of its 1 file to/);
  });
});

describe('outputs that are suggested', () => {
  it('are the directory that the run created, the file, or the directory of several files', () => {
    const here = new Set(['src', 'src/deep']);
    const exists = (directory: string) => here.has(directory);
    expect(suggestedOutputs(['out/a/b.pt', 'out/c.pt', 'model.pt', '{workspaceRoot}/x/y'], exists)).toEqual([
      'model.pt',
      'out/',
    ]);
    expect(suggestedOutputs(['src/deep/a', 'src/new/b', 'src/new/c/d'], exists)).toEqual(['src/deep/a', 'src/new/']);
    expect(suggestedOutputs(['src/1', 'src/2', 'src/3'], exists)).toEqual(['src/']);
  });
});
