import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, readFileSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { ListMultipartUploadsCommand } from '@aws-sdk/client-s3';
import fc from 'fast-check';
import type { SyncReply } from '../command/plan';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { scan } from '../snapshot/scan';
import { selectTransport } from '../sync/transport/select-transport';
import { syncTree } from '../sync/pipeline/sync-tree';
import { collectArtifacts } from './artifacts/collect';
import { cancelRun } from './stop/cancel';
import { listed, Pipeline, startPipeline } from './pipeline.fixture';

/** From files here to a process on an instance and back, over the wire of local AWS; no Nx. */
describe.each(['store', 'archive'] as const)('a sync and a run, by the transport %s', (strategy) => {
  let at: Fixture;
  let pipe: Pipeline;

  beforeAll(async () => void (at = await startPipeline()));
  afterAll(() => at.close());
  beforeEach(async () => void (pipe = await new Pipeline(at, strategy).open()));
  afterEach(() => pipe.close());

  const hard = [
    ...[' ', '"', "'", '$(touch x)', '`x`', '\n', '\\', '*', '?', '#', '%41', '{{ssm:x}}', '{{ commands }}', '@', '--'],
    ...['-rf', '=', ';', '&&', '\t', '\r', '\u001b[2J', 'é', 'é', '日本', '🚀', '\u202e', 'a', 'B', '0', '..x', '.'],
  ];
  const text = fc.array(fc.constantFrom(...hard), { minLength: 1, maxLength: 6 }).map((parts) => parts.join(''));
  const component = fc
    .oneof({ weight: 6, arbitrary: text }, { weight: 1, arbitrary: fc.constantFrom('n'.repeat(255), '界'.repeat(85)) })
    .filter((name) => !['.', '..'].includes(name) && Buffer.byteLength(name) <= 255);
  const fold = (path: string) => path.normalize('NFC').toLowerCase();
  const paths = fc
    .uniqueArray(
      fc.array(component, { minLength: 1, maxLength: 8 }).map((parts) => parts.join('/')),
      { selector: fold, minLength: 1, maxLength: 12 },
    )
    // No path may be another's directory, however it is spelled; no two spellings of one directory.
    .filter((all) => {
      const spelled = new Map<string, string>();
      const leaves = new Set(all.map(fold));
      return all.every((path) =>
        path.split('/').every((_, index, parts) => {
          const parent = parts.slice(0, index).join('/');
          if (!index) return true;
          if (leaves.has(fold(parent))) return false;
          const other = spelled.get(fold(parent));
          spelled.set(fold(parent), parent);
          return other === undefined || other === parent;
        }),
      );
    });
  const contents = fc.oneof(fc.constant(Buffer.alloc(0)), fc.uint8Array({ maxLength: 200 }).map(Buffer.from));
  const files = paths.chain((all) =>
    fc.tuple(...all.map((path) => fc.record({ path: fc.constant(path), content: contents, executable: fc.boolean() }))),
  );

  it('sends every name and content to the tree, and removes deleted files', async () => {
    await fc.assert(
      fc.asyncProperty(files, async (each) => {
        rmSync(join(pipe.workspace, 'model'), { recursive: true, force: true });
        for (const { path, content, executable } of each)
          pipe.write(`model/${path}`, content, executable ? 0o755 : 0o644);
        mkdirSync(join(pipe.workspace, 'model/links'), { recursive: true });
        symlinkSync(`../${each[0].path}`, join(pipe.workspace, 'model/links/to'));
        const { reply } = await pipe.sync();
        expect(listed(reply.tree).sort()).toEqual(listed(pipe.workspace).sort());
        expect(readlinkSync(join(reply.tree, 'model/links/to'))).toBe(`../${each[0].path}`);
        for (const { path, content, executable } of each) {
          const there = join(reply.tree, 'model', path);
          expect(readFileSync(there).equals(content)).toBe(true);
          expect(lstatSync(there).mode & 0o777).toBe(executable ? 0o755 : 0o644);
        }
        expect(await pipe.stored()).toEqual([]);
      }),
      { numRuns: 25, endOnFailure: true },
    );
  });

  it('sends every name, content and argument to the training and back', async () => {
    const argument = fc.array(fc.constantFrom(...hard, ''), { maxLength: 5 }).map((parts) => parts.join(''));
    await fc.assert(
      fc.asyncProperty(files, fc.array(argument, { maxLength: 8 }), async (each, args) => {
        rmSync(join(pipe.workspace, 'model'), { recursive: true, force: true });
        for (const { path, content } of each) pipe.write(`model/data/${path}`, content);
        pipe.write(
          'model/train.py',
          'import json, os, shutil, sys\nout = os.environ["NX_EC2_OUTPUT_DIR"]\nshutil.copytree("data", out + "/data")\n' +
            'json.dump(sys.argv[1:], open(out + "/arguments.json", "w"))\n',
        );
        const { run } = await pipe.follow((await pipe.train({ args })).run);
        expect(run.outcome).toBe('succeeded');
        const { directory } = await collectArtifacts(pipe.context, run);
        const back = join(pipe.workspace, directory);
        expect(JSON.parse(readFileSync(join(back, 'arguments.json'), 'utf8'))).toEqual(args);
        expect(listed(join(back, 'data')).sort()).toEqual(each.map(({ path }) => path).sort());
        for (const { path, content } of each) expect(readFileSync(join(back, 'data', path)).equals(content)).toBe(true);
        expect(await pipe.stored()).toEqual([]);
      }),
      { numRuns: 4, endOnFailure: true },
    );
  });

  it('shows every byte of a log that is larger than replies, binary, and in very long lines', async () => {
    pipe.write(
      'model/train.py',
      'import random, sys, time\nrandom.seed(1)\nout = sys.stdout.buffer\n' +
        'out.write(bytes(random.getrandbits(8) for _ in range(300000)))\nout.flush()\ntime.sleep(1)\n' +
        'out.write(b"x" * 10000 + b"\\n\\x1b[2J\\x00" + b"\\r" * 40000)\n',
    );
    const { run, log } = await pipe.follow((await pipe.train()).run);
    expect(run.outcome).toBe('succeeded');
    expect(log.length).toBe(300_000 + 10_000 + 6 + 40_000);
    expect(log.equals(readFileSync(join(run.directory, 'log')))).toBe(true);
    expect(await pipe.stored()).toEqual([]);
  });

  it('sends a large file in parts, and leaves no part behind', async () => {
    // Two parts and a piece.
    const size = 17 * 1024 * 1024;
    pipe.write('model/large.bin', randomBytes(size));
    const { reply, sent } = await pipe.sync();
    expect(sent.uploaded).toBeGreaterThan(size);
    const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
    expect(sha256(join(reply.tree, 'model/large.bin'))).toBe(sha256(join(pipe.workspace, 'model/large.bin')));
    expect(await pipe.stored()).toEqual([]);
  });

  it('leaves no object of an upload that is aborted', async () => {
    const endless = new Readable({
      read() {
        setImmediate(() => this.push(Buffer.alloc(1024 * 1024)));
      },
    });
    const controller = new AbortController();
    const upload = pipe.context.store.upload('given-up', endless, {
      onProgress: () => controller.abort(),
      signal: controller.signal,
    });
    await expect(upload).rejects.toThrow();
    endless.destroy();
    expect((await at.s3.send(new ListMultipartUploadsCommand({ Bucket: 'bucket' }))).Uploads ?? []).toEqual([]);
  });

  it('sends nothing if nothing changed, and all files again if the disk was replaced', async () => {
    pipe.write('model/a', 'one');
    const first = await pipe.sync();
    expect((await pipe.sync()).sent).toEqual({ files: 0, bytes: 0, uploaded: 0, saved: 0 });
    rmSync(dirname(first.reply.tree), { recursive: true });
    const again = await pipe.sync();
    // Small contents are in the record.
    expect(again.commands).toBe(1);
    expect(readFileSync(join(again.reply.tree, 'model/a'), 'utf8')).toBe('one');
  });

  it('sends a file again if it changed while it was packed', async () => {
    pipe.write('model/a', 'before');
    let scans = 0;
    const done = await syncTree<SyncReply>(pipe.context, selectTransport(strategy), {
      ...pipe.syncOptions(),
      scan: async () => {
        const scanned = await scan({ workspaceRoot: pipe.workspace, paths: ['model/a'] });
        if (scans++ === 0) pipe.write('model/a', 'behind');
        return scanned;
      },
    });
    await done.settled;
    expect(scans).toBe(2);
    expect(readFileSync(join(done.reply.tree, 'model/a'), 'utf8')).toBe('behind');
  });

  it('cancels a run with all its processes, and never calls it a success', async () => {
    pipe.write(
      'model/train.py',
      'import signal, subprocess, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n' +
        'child = subprocess.Popen(["sleep", "300"], start_new_session=True)\nprint(child.pid, flush=True)\ntime.sleep(300)\n',
    );
    const started = (await pipe.train({ gracePeriod: 1 })).run;
    const { run, already } = await cancelRun(pipe.context, started, undefined);
    expect([run.outcome, run.exitCode, already]).toEqual(['cancelled', 0, false]);
    const child = Number(readFileSync(join(run.directory, 'log'), 'utf8'));
    expect(() => process.kill(child, 0)).toThrow('ESRCH');
    expect((await cancelRun(pipe.context, started, undefined)).already).toBe(true);
    // The same where its instance is gone, if its record says that it has ended.
    const gone = { ...run, instance: 'i-0fffffffffffffff0' };
    expect(await cancelRun(pipe.context, gone, undefined)).toMatchObject({ run: { id: run.id }, already: true });
    await expect(cancelRun(pipe.context, { ...gone, outcome: null }, undefined)).rejects.toThrow(gone.instance);
  });

  it('downloads the artifacts that the limit allows, and names the others', async () => {
    await pipe.open({ maxArtifactSize: '1KB' });
    const sizes = [5000, 100, 200].map((size) => `open("artifacts/${size}", "wb").write(b"x" * ${size})\n`);
    pipe.write('model/train.py', sizes.join(''));
    const { run } = await pipe.follow((await pipe.train()).run);
    expect(run.artifacts).toMatchObject({ state: 'saved', files: 2, bytes: 300, unsaved: 1 });
    const { skipped } = await collectArtifacts(pipe.context, run);
    expect(skipped).toMatchObject([{ path: 'artifacts/5000', unsaved: 'bytes', instance: run.instance }]);
    expect(listed(join(pipe.workspace, 'model'))).toEqual(
      expect.arrayContaining(['artifacts/100', 'artifacts/200', 'train.py']),
    );
    expect(existsSync(join(pipe.workspace, 'model/artifacts/5000'))).toBe(false);
  });

  it('collects a successful run whatever the names of its artifacts are, and holds back only those that are not safe', async () => {
    const git = (...args: string[]) => execFileSync('git', ['-C', pipe.workspace, ...args]);
    git('init', '-q');
    pipe.write('model/artifacts/metrics.json', '{}');
    git('add', '.');
    pipe.write(
      'model/train.py',
      [
        'import os',
        'def save(path):',
        '    os.makedirs(os.path.dirname("artifacts/" + path), exist_ok=True)',
        '    open("artifacts/" + path, "w").write(path)',
        'for path in ("A", "a", "model.bin", ".nx-ec2.json", "training.log/x", ".git/config", ".envrc", "metrics.json", "sub/x"): save(path)',
        'save("n" * 250)',
      ].join('\n'),
    );
    await pipe.open({ downloadLimit: '100B' });
    const { run } = await pipe.follow((await pipe.train()).run);
    const { heldBack } = await collectArtifacts(pipe.context, run);
    const names = (paths: string[]) => paths.map((path) => path.replace(/^artifacts\//, '')).sort();
    const long = 'n'.repeat(250);
    expect(names(heldBack.map(({ path }) => path))).toEqual(['.envrc', '.git/config', '.nx-ec2.json', long]);
    expect(listed(join(pipe.workspace, 'model/artifacts'))).toEqual(
      ['.nx-ec2.json', 'A', 'a', 'metrics.json', 'model.bin', 'sub/x', 'training.log/x'].sort(),
    );
    // git tracks it; it is here as it was sent, and the run changed it.
    expect(readFileSync(join(pipe.workspace, 'model/artifacts/metrics.json'), 'utf8')).toBe('metrics.json');
    expect(pipe.said.join('\n')).toMatch(
      /training\.log was not written: the training created a directory of this name/,
    );
    // A second collection knows what the first brought.
    await collectArtifacts(pipe.context, run);
    expect(listed(join(pipe.workspace, 'model'))).toEqual(
      expect.arrayContaining(['artifacts/model.bin', 'artifacts/metrics.json', 'train.py']),
    );
    // A file in the place of a directory, and a directory that becomes a link while the files are on their way.
    const output = join(pipe.workspace, 'model/artifacts');
    rmSync(join(output, 'sub'), { recursive: true });
    pipe.write('model/artifacts/sub', 'mine');
    const before = listed(output);
    await expect(collectArtifacts(pipe.context, run)).rejects.toMatchObject({ code: 'ARTIFACT_BLOCKED' });
    expect(listed(output)).toEqual(before);
    const { store } = pipe.context;
    const getWithETag = store.getWithETag.bind(store);
    jest.spyOn(store, 'getWithETag').mockImplementation((...args) => {
      if (!lstatSync(output).isSymbolicLink()) {
        renameSync(output, `${output}-moved`);
        symlinkSync('artifacts-moved', output);
      }
      return getWithETag(...args);
    });
    await expect(collectArtifacts(pipe.context, run)).rejects.toMatchObject({ code: 'ARTIFACT_UNSAFE' });
    expect(listed(`${output}-moved`)).toEqual(before);
    jest.restoreAllMocks();
    rmSync(output);
    pipe.write('.git/config', 'broken [');
    await expect(collectArtifacts(pipe.context, run)).rejects.toMatchObject({ code: 'GIT_FAILED' });
  });

  it('downloads the artifacts of one run for all clients that wait for it', async () => {
    pipe.write(
      'model/train.py',
      'import os\nfor n in range(40):\n    open("artifacts/%d" % n, "wb").write(os.urandom(50000))\n',
    );
    const { run } = await pipe.follow((await pipe.train()).run);
    const all = await Promise.all([1, 2, 3].map(() => collectArtifacts(pipe.context, run)));
    expect(all.map(({ artifacts }) => artifacts.length)).toEqual([40, 40, 40]);
    for (const { path, sha256 } of all[0].artifacts) {
      const there = readFileSync(join(pipe.workspace, 'model', path));
      expect(createHash('sha256').update(there).digest('hex')).toBe(sha256);
    }
  });
});

it("only warns if an archive can't be removed after the sync", async () => {
  const at = await startPipeline();
  const pipe = await new Pipeline(at, 'archive').open();
  pipe.write('model/a', 'one');
  at.aws.faults.add({ service: 's3', action: 'DELETE', error: { code: 'AccessDenied', status: 403 } });
  expect((await pipe.sync()).reply.written).toBe(1);
  expect(pipe.said.join()).toContain('could not delete temporary objects of this sync from the store');
  pipe.close();
  await at.close();
});

it('lets a training open as many files as the hard limit allows, although its SSM command may open only 1,024', async () => {
  const at = await startPipeline();
  const pipe = await new Pipeline(at, 'store').open();
  try {
    pipe.write('model/train.py', 'import resource\nprint(*resource.getrlimit(resource.RLIMIT_NOFILE))\n');
    const { log } = await pipe.follow((await pipe.train()).run);
    const [soft, hard] = log.toString().trim().split('\n').at(-1)!.split(' ');
    expect(soft).toBe(hard);
  } finally {
    pipe.close();
    await at.close();
  }
});
