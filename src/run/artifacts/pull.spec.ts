import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { hash } from 'node:crypto';
import fc from 'fast-check';
import { allOutputs } from '../../config/settings/outputs';
import { Printer } from '../../report/printer';
import { StoreFixture } from '../../store/store.fixture';
import { listed } from '../pipeline.fixture';
import { formatPointer, pointerPath, pointerTo } from './pointer';
import { pullRun } from './pull';
import type { PullSelection } from './pull-selection';
import type { RunRecord } from '../record/record';
import { readArtifactList, PART_BYTES, readCheckpoint, type StoredFile } from '../record/file-lists';
import { recordOf, RUN, saveRun } from '../record/saved-run.fixture';

const MB = 1024 * 1024;

/** What the runtime has saved comes back here, over the wire of local AWS. */
describe('pulling a run', () => {
  let at: StoreFixture;
  let top: string;
  let output: string;
  let said: string[];
  let printer: Printer;
  beforeAll(async () => void (at = await StoreFixture.start()));
  afterAll(() => at.close());
  beforeEach(() => {
    at.empty();
    top = mkdtempSync(join(tmpdir(), 'nx-ec2-pull-'));
    output = join(top, 'artifacts');
    said = [];
    printer = new Printer({ stdout: new PassThrough().resume() as unknown as NodeJS.WriteStream });
    for (const how of ['warn', 'line'] as const) printer[how] = (text) => void said.push(text);
  });
  afterEach(() => rmSync(top, { recursive: true, force: true }));

  const files = {
    'model.bin': randomBytes(17 * MB),
    'deep/er/metrics.json': Buffer.from('{}'),
    'run.sh': Buffer.from('#!/bin/sh'),
    empty: Buffer.alloc(0),
    'weights [1].pt': Buffer.from('w'),
  };
  const checkpoints = { 'checkpoint-5/model.pt': randomBytes(9 * MB), 'checkpoint-5/state.json': Buffer.from('5') };
  const save = () => saveRun(at.store, at.keys(), files, checkpoints);
  const pull = (record: RunRecord, more: Partial<PullSelection> = {}) =>
    pullRun({ store: at.store, keys: at.keys(), printer, project: 'model' }, record, {
      output: top,
      projectRoot: 'model',
      outputs: allOutputs(),
      limit: 1024 * MB,
      ...more,
    });
  const expectHere = (wanted: Record<string, Buffer>) => {
    expect(listed(output)).toEqual(Object.keys(wanted).sort());
    for (const [path, data] of Object.entries(wanted)) expect(readFileSync(join(output, path)).equals(data)).toBe(true);
  };
  const readPointer = ({ id }: RunRecord, name: keyof typeof files) => {
    const file = { path: `artifacts/${name}`, size: files[name].length, sha256: hash('sha256', files[name]) };
    return formatPointer(pointerTo('model', id, file));
  };
  /** A list as somebody else would write it, who can make the record say its hash too. */
  const forge = async (list: Partial<StoredFile>[]) => {
    const whole = list.map((file) => ({
      path: 'artifacts/a',
      size: 0,
      sha256: hash('sha256', ''),
      executable: false,
      parts: [],
      ...file,
    }));
    const bytes = Buffer.from(JSON.stringify({ v: 1, files: whole, skipped: [] }));
    await at.store.put(`${at.keys().run(RUN)}artifacts.json`, bytes);
    return recordOf({
      artifacts: {
        state: 'saved',
        sha256: hash('sha256', bytes),
        files: 1,
        bytes: 1,
        unsaved: 0,
        extra: null,
        error: null,
      },
    });
  };

  it('downloads all artifacts, and none a second time', async () => {
    const record = await save();
    expect(await pull(record)).toEqual({ fetched: 5, there: 0, heldBack: [], bytes: 17 * MB + 2 + 9 + 1 });
    expectHere(files);
    expect(statSync(join(output, 'run.sh')).mode & 0o777).toBe(0o755);
    chmodSync(join(output, 'run.sh'), 0o644);
    writeFileSync(join(output, 'empty'), 'changed');
    writeFileSync(join(output, 'deep/er/metrics.json'), '[]');
    const error = await pull(record).catch((each: unknown) => each as Error & { code: string });
    expect(error).toMatchObject({
      code: 'FILES_DIFFER',
      message: expect.stringMatching(/ {2}artifacts\/deep\/er\/metrics\.json\n {2}artifacts\/empty\n.*--overwrite/s),
    });
    expect(readFileSync(join(output, 'empty'), 'utf8')).toBe('changed');
    expect(await pull(record, { overwrite: true })).toEqual({ fetched: 2, there: 3, heldBack: [], bytes: 2 });
    expectHere(files);
    expect(statSync(join(output, 'run.sh')).mode & 0o777).toBe(0o755);
    expect(said.at(-1)).toMatch(/^Pulled 2 files \(2 B\), 3 there already: /);
  });

  it('opens a file that is here for nobody else when it becomes executable, or is no longer', async () => {
    const record = await save();
    await pull(record);
    const modeOf = (path: string) => statSync(join(output, path)).mode & 0o777;
    chmodSync(join(output, 'run.sh'), 0o600);
    chmodSync(join(output, 'empty'), 0o711);
    expect(await pull(record)).toMatchObject({ fetched: 0, there: 5 });
    expect([modeOf('run.sh'), modeOf('empty')]).toEqual([0o700, 0o600]);
    chmodSync(join(output, 'run.sh'), 0o640);
    await pull(record);
    expect(modeOf('run.sh')).toBe(0o750);
  });

  describe.each(['run.sh', 'deep/er/metrics.json'])('while %s, which is here already, changes', (path) => {
    let elsewhere: string;
    beforeEach(() => void (elsewhere = mkdtempSync(join(tmpdir(), 'nx-ec2-elsewhere-'))));
    afterEach(() => rmSync(elsewhere, { recursive: true, force: true }));

    /** Something happens after what is here was compared, and before anything is fetched. */
    const pullWhile = async (change: () => void) => {
      const record = await save();
      await pull(record);
      chmodSync(join(output, 'run.sh'), 0o644);
      chmodSync(join(output, 'deep/er/metrics.json'), 0o755);
      rmSync(join(output, 'model.bin'));
      const begin = printer.progress.bind(printer);
      printer.progress = (...of) => {
        change();
        return begin(...of);
      };
      return pull(record).catch((each: unknown) => (each as { code: string }).code);
    };
    const modeOf = (name: string) => statSync(join(elsewhere, name)).mode & 0o777;

    it('to a link, does not touch what the link leads to', async () => {
      const key = join(elsewhere, 'key');
      writeFileSync(key, 'secret', { mode: 0o600 });
      const result = await pullWhile(() => {
        rmSync(join(output, path));
        symlinkSync(key, join(output, path));
      });
      expect(result).toBe('FILES_DIFFER');
      expect([modeOf('key'), readFileSync(key, 'utf8')]).toEqual([0o600, 'secret']);
    });

    it('its content, is not counted as there', async () => {
      expect(await pullWhile(() => writeFileSync(join(output, path), 'edited'))).toBe('FILES_DIFFER');
      expect(readFileSync(join(output, path), 'utf8')).toBe('edited');
    });
  });

  it('follows no directory that becomes a link while it works', async () => {
    const elsewhere = mkdtempSync(join(tmpdir(), 'nx-ec2-elsewhere-'));
    const metrics = join(elsewhere, 'metrics.json');
    const record = await save();
    await pull(record);
    writeFileSync(metrics, files['deep/er/metrics.json'], { mode: 0o600 });
    writeFileSync(pointerPath(metrics), readPointer(record, 'deep/er/metrics.json'));
    const begin = printer.progress.bind(printer);
    printer.progress = (...of) => {
      rmSync(join(output, 'deep/er'), { recursive: true });
      symlinkSync(elsewhere, join(output, 'deep/er'));
      return begin(...of);
    };
    await expect(pull(record)).rejects.toMatchObject({ code: 'ARTIFACT_UNSAFE' });
    expect(statSync(metrics).mode & 0o777).toBe(0o600);
    expect(existsSync(pointerPath(metrics))).toBe(true);
    rmSync(elsewhere, { recursive: true });
  });

  it('downloads the requested paths and globs', async () => {
    const record = await save();
    await pull(record, { paths: ['artifacts/weights [1].pt', 'artifacts/**/*.json'] });
    expect(listed(output)).toEqual(['deep/er/metrics.json', 'weights [1].pt']);
    await expect(pull(record, { paths: ['artifacts/absent'] })).rejects.toMatchObject({ code: 'NOTHING_TO_PULL' });
  });

  it('downloads checkpoints too, or only checkpoints while the run is active', async () => {
    const record = await save();
    await pull({ ...record, state: 'running', artifacts: null }, { checkpoints: 'last' });
    const brought = Object.fromEntries(
      Object.entries(checkpoints).map(([path, data]) => [`checkpoints/1/${path}`, data]),
    );
    expectHere(brought);
    await pull(record, { checkpoints: 1 });
    expectHere({ ...files, ...brought });
    await expect(pull(record, { checkpoints: 2 })).rejects.toMatchObject({ code: 'NO_CHECKPOINT' });
    await expect(pull({ ...record, checkpoints: [] }, { checkpoints: 'all' })).rejects.toMatchObject({
      code: 'NO_CHECKPOINT',
    });
  });

  it('continues a pull that was stopped', async () => {
    const record = await save();
    const abort = new AbortController();
    let bytes = 0;
    printer.progress = () => ({
      update: (done) => void ((bytes = done) > MB && abort.abort(new Error('stopped here'))),
      end: () => undefined,
    });
    await expect(pull(record, { signal: abort.signal })).rejects.toThrow('stopped here');
    expect(bytes).toBeLessThan(18 * MB);
    expect(existsSync(join(output, 'model.bin'))).toBe(false);
    expect((await pull(record)).bytes).toBeLessThan(17 * MB);
    expectHere(files);
  });

  it('replaces a pointer file by its artifact, and leaves other pointer files as they are', async () => {
    const record = await save();
    const list = (await readArtifactList(at.store, at.keys(), record))!;
    const file = list.files.find(({ path }) => path.endsWith('model.bin'))!;
    mkdirSync(output, { recursive: true });
    const right = pointerPath(join(output, 'model.bin'));
    const other = pointerPath(join(output, 'run.sh'));
    for (const each of [right, other]) writeFileSync(each, formatPointer(pointerTo('model', RUN, file)));
    await pull(record);
    expect([existsSync(right), existsSync(other)]).toEqual([false, true]);
  });

  it('names requested files that do not exist', async () => {
    await expect(pull(recordOf())).rejects.toMatchObject({ code: 'NOTHING_TO_PULL' });
    const failed = { state: 'failed', error: { code: 'LIMIT', message: 'too \x1b[2Jmany' } } as never;
    const error = await pull(recordOf({ artifacts: failed })).catch((each: Error) => each);
    expect((error as Error).message).toMatch(/could not be saved: too many/);
  });

  it('refuses lists that are not the ones that the run record names', async () => {
    const record = await save();
    for (const name of ['artifacts.json', 'checkpoint/1.json']) {
      const key = at.keys().run(RUN) + name;
      const bytes = (await at.store.get(key, PART_BYTES))!;
      await at.store.put(key, Buffer.concat([bytes, Buffer.from(' ')]));
    }
    await expect(pull(record)).rejects.toMatchObject({ code: 'LIST_MISMATCH' });
    await expect(readCheckpoint(at.store, at.keys(), record, 1)).rejects.toMatchObject({ code: 'LIST_MISMATCH' });
    await at.store.delete([`${at.keys().run(RUN)}artifacts.json`]);
    await expect(pull(record)).rejects.toThrow(/no longer in the store/);
  });

  it('refuses paths that lead out of the project, however the list is written', async () => {
    const part = fc.constantFrom('..', '.', '', 'a', 'artifacts');
    const path = fc
      .array(part, { minLength: 1, maxLength: 5 })
      .map((parts) => parts.join('/'))
      .filter((each) => each !== '' && !/^(a|artifacts)(\/(a|artifacts))*$/.test(each));
    await fc.assert(
      fc.asyncProperty(path, async (each) => {
        await expect(pull(await forge([{ path: each }]))).rejects.toMatchObject({ code: 'ARTIFACT_UNSAFE' });
        expect(existsSync(output)).toBe(false);
      }),
      { numRuns: 40 },
    );
  });

  it.each([
    ['a file that is listed twice', [{ path: 'artifacts/a' }, { path: 'artifacts/a' }], 'ARTIFACT_UNSAFE'],
    ['a file that is a directory', [{ path: 'artifacts/a' }, { path: 'artifacts/a/b' }], 'ARTIFACT_UNSAFE'],
    [
      'more than the limit',
      [{ size: 2000 * MB, parts: Array<string>(250).fill('a'.repeat(64)) }],
      'ARTIFACTS_TOO_LARGE',
    ],
    ['parts that do not make the size', [{ size: 5 }], 'LIST_MISMATCH'],
    ['a part that is no hash', [{ size: 5, parts: ['../../../p/x'] }], 'LIST_MISMATCH'],
    ['a directory in the way', [{ path: 'artifacts/directory' }], 'ARTIFACT_BLOCKED'],
    ['a file in the way', [{ path: 'artifacts/file/x' }], 'ARTIFACT_BLOCKED'],
  ])('refuses %s', async (_name, list, code) => {
    mkdirSync(join(output, 'directory'), { recursive: true });
    writeFileSync(join(output, 'file'), '');
    symlinkSync(top, join(output, 'link'));
    const before = listed(top);
    await expect(pull(await forge(list))).rejects.toMatchObject({ code });
    expect(listed(top)).toEqual(before);
  });

  describe('into a git repository', () => {
    const git = (...args: string[]) =>
      execFileSync('git', ['-C', top, ...args], { encoding: 'utf8', env: { ...process.env }, stdio: 'pipe' });
    const files = {
      'model.bin': 'w',
      '.git/config': '[core]\n\tfsmonitor = touch ran',
      'run.git/HEAD': 'ref: refs/heads/main',
      'run.git/refs/x': '',
      'project.json': '{}',
      '.nx-ec2.json': '{}',
      'model.nx-ec2-part': '',
      'notes.txt': 'theirs',
    };
    const saved = () =>
      saveRun(
        at.store,
        at.keys(),
        Object.fromEntries(Object.entries(files).map(([path, text]) => [path, Buffer.from(text)])),
      );
    beforeEach(() => {
      git('init', '-q');
      mkdirSync(output);
      writeFileSync(join(output, 'notes.txt'), 'mine');
      git('add', 'artifacts/notes.txt');
    });

    it('holds back only files that programs act on, files that git tracks, and names that nx-ec2 uses itself', async () => {
      const record = await saved();
      const { heldBack } = await pull(record);
      expect(heldBack.map(({ path }) => path.slice('artifacts/'.length)).sort()).toEqual([
        '.git/config',
        '.nx-ec2.json',
        'model.nx-ec2-part',
        'notes.txt',
        'project.json',
        'run.git/HEAD',
      ]);
      expect(listed(output)).toEqual(['model.bin', 'notes.txt', 'run.git/refs/x']);
      expect(readFileSync(join(output, 'notes.txt'), 'utf8')).toBe('mine');
      expect(said.join('\n')).toMatch(
        /6 artifacts of .* were held back .*artifacts\/\.git\/config: git runs programs that it names\n/s,
      );
      // Nor does --overwrite replace what git tracks.
      expect((await pull(record, { overwrite: true })).heldBack).toHaveLength(6);
      expect(readFileSync(join(output, 'notes.txt'), 'utf8')).toBe('mine');
    });

    it('downloads a held back file by the command that the message names', async () => {
      const record = await saved();
      await pull(record);
      const [, path, to] = /--path=(\S+) --output=(\S+)$/m.exec(said.find((each) => each.includes('held back'))!)!;
      rmSync(to, { recursive: true, force: true });
      try {
        expect((await pull(record, { paths: [path], output: to })).heldBack).toEqual([]);
        expect(listed(to)).toEqual([path]);
      } finally {
        rmSync(to, { recursive: true, force: true });
      }
    });

    it('downloads a held back file of a checkpoint by the command that the message names, whatever its name', async () => {
      for (const unit of ['step-5', '{a,b} [1]', '*', "it's"]) {
        const name = `${unit}/.git/config`;
        const record = await saveRun(
          at.store,
          at.keys(),
          { 'notes.txt': Buffer.from('theirs') },
          { [name]: Buffer.from('gitdir'), [`${unit}/weights.pt`]: Buffer.from('w') },
        );
        // The artifacts of a run that has not ended are not listed.
        for (const each of [record, { ...record, state: 'running', artifacts: null } as RunRecord]) {
          said.length = 0;
          const { heldBack } = await pull(each, { checkpoints: 'last', overwrite: true });
          const path = `artifacts/checkpoints/1/${name}`;
          expect(heldBack.map((held) => held.path)).toContain(path);
          const hint = /: (nx run model:remote-pull .*)$/m.exec(said.find((text) => text.includes(path))!)![1];
          const words = execFileSync('sh', ['-c', `printf '%s\\n' ${hint}`], { encoding: 'utf8' }).split('\n');
          const [named, to] = ['--path=', '--output='].map((option) =>
            words.find((word) => word.startsWith(option))!.slice(option.length),
          );
          rmSync(to, { recursive: true, force: true });
          try {
            expect((await pull(each, { paths: [named], output: to })).heldBack).toEqual([]);
            // The command names the first of what was held back.
            expect(listed(to)).toEqual([named]);
            expect(await pull(each, { paths: [path], output: to })).toMatchObject({ heldBack: [] });
            expect(readFileSync(join(to, path), 'utf8')).toBe('gitdir');
          } finally {
            rmSync(to, { recursive: true, force: true });
          }
        }
      }
    });

    it('says so if a path names no file of a checkpoint', async () => {
      const record = await saveRun(at.store, at.keys(), { a: Buffer.from('a') }, { 'step-5/w.pt': Buffer.from('w') });
      for (const path of ['1/none', '2/step-5/w.pt', '1.project/step-5/w.pt', 'x/step-5/w.pt'])
        await expect(pull(record, { paths: [`artifacts/checkpoints/${path}`] })).rejects.toMatchObject({
          code: 'NOTHING_TO_PULL',
        });
      await pull(record, { paths: ['artifacts/checkpoints/1/**'] });
      expect(listed(output)).toEqual(['checkpoints/1/step-5/w.pt', 'notes.txt']);
    });

    it('downloads project files of tools into an ignored directory, says so once, and never a git directory', async () => {
      writeFileSync(join(top, '.gitignore'), 'artifacts\n');
      expect((await pull(await saved())).heldBack.map(({ path }) => path)).not.toContain('artifacts/project.json');
      expect(existsSync(join(output, 'project.json'))).toBe(true);
      expect(existsSync(join(output, '.git'))).toBe(false);
      expect(said.filter((each) => each.includes('Tools act on'))).toHaveLength(1);
    });

    it('does not replace uncommitted files, tracked or not, if it writes into sources', async () => {
      writeFileSync(join(output, 'model.bin'), 'mine');
      const error = await pull(await saved()).catch((each: unknown) => each);
      expect(error).toMatchObject({ code: 'FILES_DIFFER' });
      expect(readFileSync(join(output, 'model.bin'), 'utf8')).toBe('mine');
    });

    it('fails if git fails, and reads a repository that belongs to another user', async () => {
      const record = await saved();
      process.env.GIT_TEST_ASSUME_DIFFERENT_OWNER = '1';
      try {
        expect(() => git('status')).toThrow(/dubious ownership/);
        expect((await pull(record)).heldBack.map(({ path }) => path)).toContain('artifacts/notes.txt');
      } finally {
        delete process.env.GIT_TEST_ASSUME_DIFFERENT_OWNER;
      }
      writeFileSync(join(top, '.git/config'), 'broken [');
      const before = listed(output);
      await expect(pull(record, { overwrite: true })).rejects.toMatchObject({ code: 'GIT_FAILED' });
      expect(listed(output)).toEqual(before);
    });

    it('writes no file through a link', async () => {
      symlinkSync(tmpdir(), join(output, 'link'));
      const { heldBack } = await pull(await forge([{ path: 'artifacts/link/nx-ec2-never' }, { path: 'artifacts/a' }]));
      expect(heldBack).toEqual([
        { path: 'artifacts/link/nx-ec2-never', why: 'artifacts/link is a symbolic link on this machine' },
      ]);
      expect(existsSync(join(tmpdir(), 'nx-ec2-never'))).toBe(false);
      expect(existsSync(join(output, 'a'))).toBe(true);
    });
  });

  it('downloads the artifact if an artifact and a checkpoint have the same path, and says so', async () => {
    const record = await saveRun(
      at.store,
      at.keys(),
      { 'checkpoints/1/unit/a': Buffer.from('artifact') },
      { 'unit/a': Buffer.from('checkpoint') },
    );
    const { heldBack } = await pull(record, { checkpoints: 'all' });
    expect(heldBack).toEqual([
      { path: 'artifacts/checkpoints/1/unit/a', why: 'another file of the run has the same path' },
    ]);
    expectHere({ 'checkpoints/1/unit/a': Buffer.from('artifact') });
  });

  it('applies the same rules to checkpoints', async () => {
    const file = { path: 'u/../../../x', size: 0, sha256: hash('sha256', ''), executable: false, parts: [] };
    for (const change of [
      {},
      { unit: '..', files: [{ ...file, path: '../x' }] },
      { names: [{ name: 'v', kind: 'directory' }] },
      { names: [{ name: 'u', kind: 'file' }] },
      { names: [{ name: 'u', kind: 'link' }] },
    ]) {
      const bytes = Buffer.from(
        JSON.stringify({
          v: 1,
          n: 1,
          unit: 'u',
          names: [{ name: 'u', kind: 'directory' }],
          at: 1,
          attempt: 1,
          files: [file],
          ...change,
        }),
      );
      await at.store.put(`${at.keys().run(RUN)}checkpoint/1.json`, bytes);
      const entry = { n: 1, unit: 'u', sha256: hash('sha256', bytes), size: 0, files: 1, at: 1, attempt: 1 };
      const error = await pull(recordOf({ checkpoints: [entry] }), { checkpoints: 'last' }).catch(
        (each: unknown) => each,
      );
      expect((error as { code: string }).code).toMatch(/^(ARTIFACT_UNSAFE|LIST_MISMATCH)$/);
      expect(existsSync(output)).toBe(false);
    }
  });
});
