import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { Printer } from '../report/printer';
import { Pipeline, startPipeline } from '../run/pipeline.fixture';
import type { RunRecord } from '../run/record/record';
import { newRunId } from '../run/record/run-id';
import { putRecord, recordOf } from '../run/record/saved-run.fixture';
import { checkout } from './checkout';
import { diff } from './diff';
import { report } from './report';

const sha256 = (of: string) => createHash('sha256').update(of).digest('hex');

/** Two runs of a project whose code, configuration and results differ. */
describe('nx-ec2 runs diff and runs checkout', () => {
  let at: Fixture;
  let pipe: Pipeline;
  let home: string;
  let before: RunRecord;
  let after: RunRecord;
  beforeAll(async () => {
    at = await startPipeline({ instances: ['box'] });
    pipe = await new Pipeline(at, 'store').open();
    home = mkdtempSync(join(tmpdir(), 'nx-ec2-checkout-'));
    pipe.write('model/train.py', 'import torch\n\nprint("one")\n');
    pipe.write('model/run.sh', '#!/bin/sh\n', 0o755);
    pipe.write('model/weights', randomBytes(50_000));
    pipe.write('uv.lock', '[[package]]\nname = "torch"\nversion = "2.1.0"\n');
    before = await run({ args: ['--epochs', '3'], pricePerHour: 1 }, { loss: 0.5, old: 1 }, 'model one', [
      'v1',
      'same',
    ]);
    pipe.write('model/train.py', 'import torch\n\nprint("two")\n');
    pipe.write('model/new.py', '');
    rmSync(join(pipe.workspace, 'model/run.sh'));
    pipe.write('model/weights', randomBytes(60_000));
    pipe.write('uv.lock', '[[package]]\nname = "torch"\nversion = "2.2.0"\n');
    after = await run({ args: ['--epochs', '5'], pricePerHour: 2 }, { loss: 0.25 }, 'model two', ['v2', 'same']);
  });
  afterAll(async () => {
    pipe.close();
    rmSync(home, { recursive: true, force: true });
    await at.close();
  });

  /** As the instance would have recorded it. */
  const run = async (configuration: object, training: Record<string, number>, model: string, versions: string[]) => {
    const { snapshot } = await pipe.sync();
    const { store, keys } = pipe.context;
    const id = newRunId(pipe.project, new Date());
    const part = sha256(model);
    const list = {
      v: 1,
      files: [{ path: 'artifacts/model', size: model.length, sha256: part, executable: false, parts: [part] }],
      skipped: [],
    };
    await store.put(`${keys.run(id)}artifacts.json`, Buffer.from(JSON.stringify(list)));
    const base = recordOf();
    const record = recordOf({
      id,
      snapshot: snapshot.id,
      project: pipe.project,
      artifacts: {
        state: 'saved',
        sha256: sha256(JSON.stringify(list)),
        files: 1,
        bytes: model.length,
        unsaved: 0,
        extra: null,
        error: null,
      },
      metrics: { ...base.metrics, host: null, training },
      datasets: versions.map((version, index) => ({
        source: `s3://data/${index}`,
        path: `data/${index}`,
        version,
        files: 1,
        bytes: 1,
      })),
      metadata: {
        git: null,
        command: 'train.py',
        recovery: 'none',
        configuration: { ...configuration },
        host: 'here',
        price: null,
      },
    });
    await putRecord(store, keys, record);
    return record;
  };

  const printed = async (work: (printer: Printer) => Promise<void>, json = false) => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const streams = {
      stdout: stdout as unknown as NodeJS.WriteStream,
      stderr: stderr as unknown as NodeJS.WriteStream,
    };
    const out = text(stdout);
    const error = await work(new Printer({ json, ...streams })).then(
      () => null,
      (reason: unknown) => reason,
    );
    stdout.end();
    return { out: await out, error };
  };
  const where = () => ({ project: pipe.project, bucket: 'bucket', prefix: pipe.context.configuration.prefix });

  it('are written as a page and as Markdown, with the difference from a base', async () => {
    const html = join(home, 'report.html');
    const options = { ...where(), html, markdown: true as const, base: before.id };
    const { out, error } = await printed((printer) => report([after.id, before.id, after.id], options, printer));
    expect(error).toBeNull();
    const page = readFileSync(html, 'utf8');
    for (const shown of [page.replaceAll('&#34;', '"'), out]) {
      expect(shown).toContain('artifacts/model');
      expect(shown).toContain('args  ["--epochs","3"] → ["--epochs","5"]');
    }
    expect(out).toContain(`## Training \`${after.id}\`, \`${before.id}\``);
    const unknown = '20260101-000000-model-aaaaaa';
    const { error: missing } = await printed((printer) => report([unknown], where(), printer));
    expect(missing).toMatchObject({ code: 'OPTION_MISSING' });
    for (const path of ['', home, join(home, 'absent/report.html')])
      for (const option of ['html', 'markdown']) {
        const refused = await printed((printer) => report([unknown], { ...where(), [option]: path }, printer));
        expect(refused.error).toMatchObject({
          code: 'OPTION_INVALID',
          message: expect.stringContaining(`--${option}`),
        });
      }
  });

  it('shows what differs, and nothing else', async () => {
    const { out, error } = await printed((printer) => diff(before.id, after.id, where(), printer));
    expect(error).toBeNull();
    for (const line of [
      /\+ model\/new\.py {2}0 B\n/,
      /- model\/run\.sh {2}10 B\n/,
      /~ model\/weights .*, not text\n/,
      /lock files that changed: uv\.lock\n/,
      /uv\.lock:\n {2}~ torch 2\.1\.0 → 2\.2\.0\n/,
      /args {2}\["--epochs","3"\] → \["--epochs","5"\]\n/,
      /s3:\/\/data\/0 at data\/0" {2}v1 → v2\n/,
      /loss +0\.5 +0\.25 +-0\.25\n/,
      /old +1 +–\n/,
      /~ artifacts\/model {2}9 B → 9 B\n/,
      /--- .* model\/train\.py\n\+\+\+ .* model\/train\.py\n@@ .* @@\n import torch\n \n-print\("one"\)\n\+print\("two"\)\n/,
    ])
      expect(out).toMatch(line);
    expect(out).not.toMatch(/pricePerHour|data\/1|\ngit\n/);
    const same = await printed((printer) => diff(after.id, after.id, where(), printer));
    expect(same.out).toBe(`${after.id} and ${after.id} do not differ.\n`);
  });

  it('prints the differences in one machine-readable line', async () => {
    const { out } = await printed((printer) => diff(before.id, after.id, where(), printer), true);
    expect(JSON.parse(out)).toMatchObject({
      success: true,
      before: before.id,
      code: { same: false, removed: [{ path: 'model/run.sh' }], packages: [{ changed: [{ name: 'torch' }] }] },
      metrics: [
        { name: 'loss', difference: -0.25 },
        { name: 'old', after: null },
      ],
      artifacts: { changed: [{ path: 'artifacts/model' }], trouble: null },
    });
  });

  it('checks out the code of a run by its id', async () => {
    const output = join(home, 'then');
    const { out, error } = await printed((printer) => checkout(before.id, { ...where(), output }, printer), true);
    expect(error).toBeNull();
    expect(JSON.parse(out)).toMatchObject({
      success: true,
      run: before.id,
      snapshot: before.snapshot,
      directory: output,
    });
    expect(readFileSync(join(output, 'model/train.py'), 'utf8')).toContain('one');
    expect(statSync(join(output, 'model/run.sh')).mode & 0o777).toBe(0o755);
    const again = await printed((printer) => checkout(before.id, { ...where(), output }, printer));
    expect(again.error).toMatchObject({ code: 'TARGET_TAKEN' });
  });

  it('refuses to write the code of a run where Nx would use it as the workspace, or files that version control acts on', async () => {
    const workspace = join(home, 'workspace');
    mkdirSync(workspace);
    writeFileSync(join(workspace, 'nx.json'), '{}');
    execFileSync('git', ['-C', workspace, 'init', '-q']);
    const inside = join(workspace, 'runs/then');
    const refused = await printed((printer) => checkout(before.id, { ...where(), output: inside }, printer));
    expect(refused.error).toMatchObject({
      code: 'CHECKOUT_IN_WORKSPACE',
      message: expect.stringContaining(join(home, before.id)),
    });
    // Ignored by git alone, by Nx alone, and by neither where one of both takes a file of it back.
    const ignores: Record<string, string>[] = [
      { '.git/info/exclude': 'runs\n' },
      { '.nxignore': 'runs\n' },
      { '.gitignore': 'runs/*\n!runs/then\n' },
      { '.gitignore': 'runs\n', '.nxignore': '!runs\n' },
    ];
    for (const files of ignores) {
      for (const [path, text] of Object.entries(files)) writeFileSync(join(workspace, path), text);
      const { error } = await printed((printer) => checkout(before.id, { ...where(), output: inside }, printer));
      expect([files, (error as { code?: string } | null)?.code]).toEqual([files, 'CHECKOUT_IN_WORKSPACE']);
      for (const path of Object.keys(files)) rmSync(join(workspace, path));
    }
    expect(existsSync(join(workspace, 'runs'))).toBe(false);
    writeFileSync(join(workspace, '.gitignore'), 'runs\n');
    pipe.write('model/.git/config', '[core]');
    pipe.write('model/bare.git/HEAD', '');
    pipe.write('model/bare.git/objects/x', '');
    pipe.write('model/.gitignore', '');
    const { id } = await run({}, {}, 'model three', ['v3']);
    const { out, error } = await printed((printer) => checkout(id, { ...where(), output: inside }, printer), true);
    expect(error).toBeNull();
    expect(JSON.parse(out)).toMatchObject({ heldBack: ['model/.git/config', 'model/bare.git/HEAD'] });
    expect(existsSync(join(inside, 'model/.git'))).toBe(false);
    expect(existsSync(join(inside, 'model/.gitignore'))).toBe(true);
  });

  it('writes beside the repository by default', async () => {
    const workspace = join(home, 'nest/ws');
    mkdirSync(workspace, { recursive: true });
    writeFileSync(join(workspace, 'nx.json'), '{}');
    execFileSync('git', ['-C', join(home, 'nest'), 'init', '-q']);
    const cwd = jest.spyOn(process, 'cwd').mockReturnValue(workspace);
    const { out, error } = await printed((printer) => checkout(before.id, where(), printer), true);
    cwd.mockRestore();
    expect(error).toBeNull();
    expect(JSON.parse(out)).toMatchObject({ directory: join(realpathSync(home), before.id) });
  });

  it('names the run or file that it does not find', async () => {
    const unknown = newRunId(pipe.project, new Date());
    const find = async (id: string, options: object) =>
      (await printed((printer) => checkout(id, { output: join(home, 'none'), ...options }, printer))).error;
    expect(await find(unknown, where())).toMatchObject({ code: 'NO_RUN' });
    expect(await find('last', where())).toMatchObject({ code: 'RUN_ID' });
    expect(await find(unknown, { bucket: 'bucket' })).toMatchObject({ code: 'NO_PROJECT' });
    expect(existsSync(join(home, 'none'))).toBe(false);
  });

  it('compares the rest of two runs if their code or file lists are no longer in the store', async () => {
    const { store, keys } = pipe.context;
    await store.delete([keys.manifest(before.snapshot), `${keys.run(before.id)}artifacts.json`]);
    const { out, error } = await printed((printer) => diff(before.id, after.id, where(), printer));
    expect(error).toBeNull();
    expect(out).toMatch(/code\n {2}The store has no manifest of the snapshot/);
    expect(out).toMatch(/artifacts\n {2}.*artifacts\.json is no longer in the store/);
    expect(out).toMatch(/loss +0\.5/);
  });
});
