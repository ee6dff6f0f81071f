import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { allOutputs } from '../config/settings/outputs';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { Printer } from '../report/printer';
import { StoreFixture } from '../store/store.fixture';
import { Store } from '../store/store';
import { collectArtifacts } from './artifacts/collect';
import { listed, Pipeline, startPipeline } from './pipeline.fixture';
import { pullRun } from './artifacts/pull';
import type { RunRecord } from './record/record';
import { PART_BYTES } from './record/file-lists';
import { saveRun } from './record/saved-run.fixture';

/** Calls `act` while the first part is on its way, whose answer waits for it. */
function whileFetching(act: () => unknown): void {
  const real = Store.prototype.getWithETag;
  let count = 0;
  jest.spyOn(Store.prototype, 'getWithETag').mockImplementation(async function (this: Store, ...args) {
    if (args[0].includes('/part/') && ++count === 1) await act();
    return real.apply(this, args);
  });
}

afterEach(() => jest.restoreAllMocks());

describe('a local change while a successful run is collected', () => {
  let at: Fixture;
  let pipe: Pipeline;
  beforeAll(async () => void (at = await startPipeline()));
  afterAll(() => at.close());
  beforeEach(async () => void (pipe = await new Pipeline(at, 'store').open()));
  afterEach(() => pipe.close());

  const train = async () => (await pipe.follow((await pipe.launch()).run)).run;
  const read = (path: string) => readFileSync(join(pipe.workspace, 'model', path), 'utf8');
  const WHY = 'what is at this path was changed while the artifacts were fetched';

  it.each([
    ['tracked by git', true],
    ['not tracked', false],
  ])('is kept if it is %s, and the artifact is held back', async (_, tracked) => {
    pipe.write('model/train.py', 'for name in ("results.csv", "new.csv"): open(name, "w").write("of the run")');
    pipe.write('model/results.csv', 'as it was sent');
    if (tracked) {
      execFileSync('git', ['init', '-q'], { cwd: pipe.workspace });
      execFileSync('git', ['add', 'model/results.csv'], { cwd: pipe.workspace });
    }
    await pipe.open({ outputs: ['results.csv', 'new.csv'] });
    const run = await train();
    whileFetching(() => {
      pipe.write('model/results.csv', 'an edit');
      pipe.write('model/new.csv', 'a new file');
    });
    const { heldBack } = await collectArtifacts(pipe.context, run);
    expect(heldBack).toEqual(['new.csv', 'results.csv'].map((path) => ({ path, why: WHY })));
    expect([read('results.csv'), read('new.csv')]).toEqual(['an edit', 'a new file']);
    expect(pipe.said.join('\n')).toContain(`results.csv: ${WHY}`);
  });

  it('is kept if the run has a directory where a file was, or a file where a directory was', async () => {
    const first = 'import os\nopen("notes", "w").write("1")\nos.makedirs("d/e")\nopen("d/e/x", "w").write("1")';
    const second =
      'import os, shutil\nos.remove("notes")\nshutil.rmtree("d")\nos.makedirs("notes")\nopen("notes/a", "w").write("2")\nopen("d", "w").write("2")';
    pipe.write('model/train.py', first);
    await pipe.open({ outputs: ['notes', 'd'] });
    await collectArtifacts(pipe.context, await train());
    pipe.write('model/train.py', second);
    await pipe.open({ outputs: ['notes', 'd'] });
    const run = await train();
    whileFetching(() => {
      pipe.write('model/notes', 'an edit');
      pipe.write('model/d/e/x', 'an edit');
    });
    const { heldBack } = await collectArtifacts(pipe.context, run);
    expect(heldBack).toEqual(['d', 'notes/a'].map((path) => ({ path, why: WHY })));
    expect([read('notes'), read('d/e/x')]).toEqual(['an edit', 'an edit']);
    // Known as what was brought no more: nothing that a collection may replace.
    jest.restoreAllMocks();
    rmSync(join(pipe.workspace, 'model/notes'));
    rmSync(join(pipe.workspace, 'model/d'), { recursive: true });
    expect(await collectArtifacts(pipe.context, run)).toMatchObject({ heldBack: [] });
    expect([read('notes/a'), read('d')]).toEqual(['2', '2']);
  });

  it('is kept if a directory is where the file that says what was brought names a file', async () => {
    pipe.write('model/train.py', 'open("data", "w").write("of the run")');
    await pipe.open({ outputs: ['data'] });
    const run = await train();
    const mine = 'model/data/sub/mine.csv';
    pipe.write(mine, 'precious');
    const marker = 'model/artifacts/.nx-ec2.json';
    const sha256 = createHash('sha256').update('precious').digest('hex');
    const content = (path: string) => ({ files: [path], artifacts: [{ path, size: 8, sha256 }] });
    const blocked = { code: 'ARTIFACT_BLOCKED', message: expect.stringContaining('a directory is at data') };
    pipe.write(marker, JSON.stringify(content('data')));
    await expect(collectArtifacts(pipe.context, run)).rejects.toMatchObject(blocked);
    // That of a repository says what its author wants.
    pipe.write(marker, JSON.stringify(content('data/sub/mine.csv')));
    const written = readFileSync(join(pipe.workspace, marker), 'utf8');
    execFileSync('git', ['init', '-q'], { cwd: pipe.workspace });
    execFileSync('git', ['add', '-f', marker], { cwd: pipe.workspace });
    await expect(collectArtifacts(pipe.context, run)).rejects.toMatchObject(blocked);
    expect(read('data/sub/mine.csv')).toBe('precious');

    rmSync(join(pipe.workspace, 'model/data'), { recursive: true });
    expect(await collectArtifacts(pipe.context, run)).toMatchObject({ heldBack: [] });
    expect([read('data'), readFileSync(join(pipe.workspace, marker), 'utf8')]).toEqual(['of the run', written]);
    expect(pipe.said.join('\n')).toContain('artifacts/.nx-ec2.json is not written: git tracks it');
  });

  it('counts as the artifact if it has the same content', async () => {
    pipe.write('model/train.py', 'open("new.csv", "w").write("of the run")');
    await pipe.open({ outputs: ['new.csv'] });
    const run = await train();
    whileFetching(() => pipe.write('model/new.csv', 'of the run'));
    expect(await collectArtifacts(pipe.context, run)).toMatchObject({ heldBack: [] });
  });

  it('is refused if it replaces a directory by a link', async () => {
    pipe.write('model/train.py', 'import os\nos.makedirs("out")\nopen("out/a", "w").write("of the run")');
    await pipe.open({ outputs: ['out/'] });
    const run = await train();
    const outside = join(pipe.memory, 'outside');
    mkdirSync(outside);
    whileFetching(() => symlinkSync(outside, join(pipe.workspace, 'model/out')));
    await expect(collectArtifacts(pipe.context, run)).rejects.toMatchObject({ code: 'ARTIFACT_UNSAFE' });
    expect(listed(outside)).toEqual([]);
  });
});

describe('a local change while a run is pulled', () => {
  let at: StoreFixture;
  let top: string;
  beforeAll(async () => void (at = await StoreFixture.start()));
  afterAll(() => at.close());
  beforeEach(() => {
    at.empty();
    top = mkdtempSync(join(tmpdir(), 'nx-ec2-meanwhile-'));
  });
  afterEach(() => rmSync(top, { recursive: true, force: true }));

  const pull = (record: RunRecord, overwrite = false, project = 'model') => {
    const printer = new Printer({ stdout: new PassThrough().resume() as unknown as NodeJS.WriteStream });
    return pullRun({ store: at.store, keys: at.keys(project), printer, project }, record, {
      output: join(top, 'model'),
      projectRoot: 'model',
      outputs: allOutputs(),
      limit: 1e9,
      overwrite,
    });
  };
  const here = (path: string) => join(top, 'model/artifacts', path);

  it.each([false, true])('is kept (overwrite: %s), and no file is downloaded twice', async (overwrite) => {
    const record = await saveRun(at.store, at.keys(), { 'a.txt': Buffer.from('of the run') });
    whileFetching(() => writeFileSync(here('a.txt'), 'an edit'));
    await expect(pull(record, overwrite)).rejects.toMatchObject({
      code: 'FILES_DIFFER',
      message: expect.stringContaining('artifacts/a.txt in'),
    });
    expect(readFileSync(here('a.txt'), 'utf8')).toBe('an edit');
    rmSync(here('a.txt'));
    expect(await pull(record)).toMatchObject({ fetched: 1, bytes: 0 });
    expect(listed(top)).toEqual(['model/artifacts/a.txt']);
  });

  it('is not written through if it replaces a directory by a link', async () => {
    const record = await saveRun(at.store, at.keys(), { 'd/a.txt': Buffer.from('a'), 'd/b.txt': Buffer.from('b') });
    const outside = join(top, 'outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'a.txt'), 'of somebody');
    whileFetching(() => {
      renameSync(here('d'), here('moved'));
      symlinkSync(outside, here('d'));
    });
    await expect(pull(record)).rejects.toMatchObject({ code: 'ARTIFACT_UNSAFE' });
    expect(listed(outside)).toEqual(['a.txt']);
    expect(readFileSync(join(outside, 'a.txt'), 'utf8')).toBe('of somebody');
  });

  it('by a second pull of the same run leaves a complete file', async () => {
    const data = randomBytes(2 * PART_BYTES + 1);
    const record = await saveRun(at.store, at.keys(), { 'a.bin': data, 'b.txt': Buffer.from('b') });
    await Promise.all([pull(record), pull(record)]);
    expect(readFileSync(here('a.bin')).equals(data)).toBe(true);
    expect(listed(top)).toEqual(['model/artifacts/a.bin', 'model/artifacts/b.txt']);
  });

  it('by a pull of another run to the same path leaves one complete file', async () => {
    const [first, second] = [randomBytes(2 * PART_BYTES), randomBytes(2 * PART_BYTES)];
    const record = await saveRun(at.store, at.keys(), { 'a.bin': first });
    // The same id below another project's prefix is another run.
    const other = await saveRun(at.store, at.keys('other'), { 'a.bin': second });
    whileFetching(() => pull(other, false, 'other'));
    await expect(pull(record)).rejects.toMatchObject({ code: 'FILES_DIFFER' });
    expect(readFileSync(here('a.bin')).equals(second)).toBe(true);
  });
});
