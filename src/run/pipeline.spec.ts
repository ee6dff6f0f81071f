import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { ListMultipartUploadsCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import fc from 'fast-check';
import type { RunPart, SyncReply, TrainReply } from '../command/plan';
import { resolveConfiguration } from '../config/configuration';
import { startFixture, type Fixture } from '../local-aws/local-aws.fixture';
import { Reporter } from '../report/reporter';
import { scan } from '../snapshot/scan';
import { archiveStrategy } from '../sync/archive';
import { synchronise } from '../sync/synchronise';
import { collectArtifacts } from './artifacts';
import { cancelRun } from './cancel';
import { followRun } from './follow';
import { newRunId, runKey } from './run-id';
import { openSession, type Session } from './session';

/** From files here to a process on an instance and back, over the wire of local AWS; no Nx. */
describe('the way of the data', () => {
  let at: Fixture;
  let workspace: string;
  let session: Session;
  const before = { ...process.env };

  const open = (project: string, options: Record<string, unknown> = {}) =>
    openSession(
      resolveConfiguration({
        workspaceRoot: workspace,
        projectName: project,
        projectRoot: 'model',
        nxJson: {},
        options: { bucket: 'bucket', instance: at.aws.named.get('box')!.id, script: 'train.py', ...options },
        target: 'remote-train',
        environment: {},
      }),
      project,
      workspace,
      new Reporter({ stdout: new PassThrough().resume() as unknown as NodeJS.WriteStream }),
    );

  beforeAll(async () => {
    at = await startFixture();
    const { endpoint, region, credentials } = at.clientOptions;
    Object.assign(process.env, {
      AWS_ENDPOINT_URL: endpoint,
      AWS_REGION: region,
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    });
  });
  afterAll(async () => {
    process.env = before;
    await at.close();
  });
  beforeEach(async () => {
    workspace = mkdtempSync(join(tmpdir(), 'nx-ec2-pipeline-'));
    session = await open(`project ${randomBytes(4).toString('hex')}`);
  });
  afterEach(() => {
    session.close();
    rmSync(workspace, { recursive: true, force: true });
  });

  const write = (path: string, content: string | Buffer, mode = 0o644) => {
    mkdirSync(dirname(join(workspace, path)), { recursive: true });
    writeFileSync(join(workspace, path), content);
    chmodSync(join(workspace, path), mode);
  };
  /** Every file and link below a directory, relative to it. */
  const listed = (directory: string, below = ''): string[] =>
    readdirSync(join(directory, below), { withFileTypes: true }).flatMap((each) => {
      const path = below ? `${below}/${each.name}` : each.name;
      return each.isDirectory() ? listed(directory, path) : [path];
    });
  const wishes = () => ({
    scan: async () => scan({ workspaceRoot: workspace, paths: listed(workspace).sort() }).snapshot,
    preflight: () => session.preflight(),
    onPlan: () => undefined,
  });
  const sync = async (run?: () => RunPart) => {
    const done = await synchronise<TrainReply>(session, archiveStrategy, { ...wishes(), run });
    await done.settled;
    return done;
  };
  const start = async (args: string[] = [], more: Partial<RunPart> = {}) => {
    const { reply } = await sync(() => ({
      id: newRunId(session.project, new Date()),
      key: runKey({ args, random: randomBytes(4).toString('hex') }),
      project: session.project,
      projectRoot: 'model',
      script: 'train.py',
      command: null,
      args,
      environment: { manager: 'none', root: 'model', file: '', locked: false },
      setup: null,
      env: {},
      outputDir: 'artifacts',
      timeout: null,
      grace: 1,
      rerun: false,
      ...more,
    }));
    return reply.run;
  };
  const follow = async (id: string) => {
    const logs = { setup: [] as Buffer[], training: [] as Buffer[] };
    const { run } = await followRun(session, id, { onLog: (data, log) => void logs[log].push(data) });
    return { run, log: Buffer.concat(logs.training) };
  };
  const stored = async () =>
    ((await at.s3.send(new ListObjectsV2Command({ Bucket: 'bucket' }))).Contents ?? [])
      .map(({ Key }) => Key!)
      .filter((key) => key.includes(`/${encodeURIComponent(session.project)}/`) && !key.includes('/ref/'));

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

  it('carries every name and content to the tree, and takes away what is gone', async () => {
    await fc.assert(
      fc.asyncProperty(files, async (each) => {
        rmSync(join(workspace, 'model'), { recursive: true, force: true });
        for (const { path, content, executable } of each) write(`model/${path}`, content, executable ? 0o755 : 0o644);
        mkdirSync(join(workspace, 'model/links'), { recursive: true });
        symlinkSync(`../${each[0].path}`, join(workspace, 'model/links/to'));
        const { reply } = await sync();
        expect(listed(reply.tree).sort()).toEqual(listed(workspace).sort());
        expect(readlinkSync(join(reply.tree, 'model/links/to'))).toBe(`../${each[0].path}`);
        for (const { path, content, executable } of each) {
          const there = join(reply.tree, 'model', path);
          expect(readFileSync(there).equals(content)).toBe(true);
          expect(lstatSync(there).mode & 0o777).toBe(executable ? 0o755 : 0o644);
        }
        expect(await stored()).toEqual([]);
      }),
      { numRuns: 25, endOnFailure: true },
    );
  }, 120_000);

  it('carries every name, content and argument to the training and back', async () => {
    const argument = fc.array(fc.constantFrom(...hard, ''), { maxLength: 5 }).map((parts) => parts.join(''));
    await fc.assert(
      fc.asyncProperty(files, fc.array(argument, { maxLength: 8 }), async (each, args) => {
        rmSync(join(workspace, 'model'), { recursive: true, force: true });
        for (const { path, content } of each) write(`model/data/${path}`, content);
        write(
          'model/train.py',
          'import json, os, shutil, sys\nout = os.environ["NX_EC2_OUTPUT_DIR"]\nshutil.copytree("data", out + "/data")\n' +
            'json.dump(sys.argv[1:], open(out + "/arguments.json", "w"))\n',
        );
        const { run } = await follow((await start(args)).id);
        expect(run.outcome).toBe('succeeded');
        const { directory } = await collectArtifacts(session, run);
        const back = join(workspace, directory);
        expect(JSON.parse(readFileSync(join(back, 'arguments.json'), 'utf8'))).toEqual(args);
        expect(listed(join(back, 'data')).sort()).toEqual(each.map(({ path }) => path).sort());
        for (const { path, content } of each) expect(readFileSync(join(back, 'data', path)).equals(content)).toBe(true);
        expect(await stored()).toEqual([]);
      }),
      { numRuns: 4, endOnFailure: true },
    );
  }, 120_000);

  it('shows every byte of a log that is larger than replies, binary, and in very long lines', async () => {
    write(
      'model/train.py',
      'import random, sys, time\nrandom.seed(1)\nout = sys.stdout.buffer\n' +
        'out.write(bytes(random.getrandbits(8) for _ in range(300000)))\nout.flush()\ntime.sleep(1)\n' +
        'out.write(b"x" * 10000 + b"\\n\\x1b[2J\\x00" + b"\\r" * 40000)\n',
    );
    const { run, log } = await follow((await start()).id);
    expect(run.outcome).toBe('succeeded');
    expect(log.length).toBe(300_000 + 10_000 + 6 + 40_000);
    expect(log.equals(readFileSync(join(run.directory, 'training.log')))).toBe(true);
    expect(await stored()).toEqual([]);
  });

  it('sends a large file in parts, and leaves no part behind', async () => {
    write('model/large.bin', randomBytes(20 * 1024 * 1024));
    const { reply, sent } = await sync();
    expect(sent.uploaded).toBeGreaterThan(20 * 1024 * 1024);
    const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
    expect(sha256(join(reply.tree, 'model/large.bin'))).toBe(sha256(join(workspace, 'model/large.bin')));
    expect(await stored()).toEqual([]);
  });

  it('gives an upload up cleanly', async () => {
    const endless = new Readable({
      read() {
        setImmediate(() => this.push(Buffer.alloc(1024 * 1024)));
      },
    });
    const controller = new AbortController();
    const upload = session.store.upload('given-up', endless, () => controller.abort(), controller.signal);
    await expect(upload).rejects.toThrow();
    endless.destroy();
    expect((await at.s3.send(new ListMultipartUploadsCommand({ Bucket: 'bucket' }))).Uploads ?? []).toEqual([]);
  });

  it('sends nothing where nothing changed, and everything where the disk was replaced', async () => {
    write('model/a', 'one');
    const first = await sync();
    expect((await sync()).sent).toEqual({ files: 0, bytes: 0, uploaded: 0 });
    rmSync(dirname(first.reply.tree), { recursive: true });
    const again = await sync();
    expect(again.commands).toBe(2);
    expect(readFileSync(join(again.reply.tree, 'model/a'), 'utf8')).toBe('one');
  });

  it('sends again what changed while it was packed', async () => {
    write('model/a', 'before');
    let scans = 0;
    const done = await synchronise<SyncReply>(session, archiveStrategy, {
      ...wishes(),
      scan: async () => {
        const { snapshot } = scan({ workspaceRoot: workspace, paths: ['model/a'] });
        if (scans++ === 0) write('model/a', 'behind');
        return snapshot;
      },
    });
    await done.settled;
    expect(scans).toBe(2);
    expect(readFileSync(join(done.reply.tree, 'model/a'), 'utf8')).toBe('behind');
  });

  it('warns where what was sent can not be removed, and has synced all the same', async () => {
    write('model/a', 'one');
    const warned: string[] = [];
    jest.spyOn(session.reporter, 'warn').mockImplementation((what) => void warned.push(what));
    at.aws.faults.add({ service: 's3', action: 'DELETE', error: { code: 'AccessDenied', status: 403 } });
    const { reply } = await sync();
    expect(reply.written).toBe(1);
    expect(warned.join()).toContain('still in the store');
  });

  it('cancels a run with the processes that it began, and never calls it a success', async () => {
    write(
      'model/train.py',
      'import signal, subprocess, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n' +
        'child = subprocess.Popen(["sleep", "300"], start_new_session=True)\nprint(child.pid, flush=True)\ntime.sleep(300)\n',
    );
    const { id } = await start();
    const { run, already } = await cancelRun(session, id, undefined, () => undefined);
    expect([run.outcome, run.exitCode, already]).toEqual(['cancelled', 0, false]);
    const child = Number(readFileSync(join(run.directory, 'training.log'), 'utf8'));
    expect(() => process.kill(child, 0)).toThrow('ESRCH');
    expect((await cancelRun(session, id, undefined, () => undefined)).already).toBe(true);
  });

  it('refuses artifacts over the limit, names the largest, and brings none', async () => {
    session.close();
    session = await open(`project ${randomBytes(4).toString('hex')}`, { maxArtifactSize: '1KB' });
    write('model/train.py', 'open("artifacts/big", "wb").write(b"x" * 5000)\n');
    const { run } = await follow((await start()).id);
    await expect(collectArtifacts(session, run)).rejects.toThrow(/5000 bytes are more than the limit/);
    expect(listed(join(workspace, 'model'))).toEqual(['train.py']);
  });

  it('brings the artifacts of one run to all who wait for it', async () => {
    write(
      'model/train.py',
      'import os\nfor n in range(40):\n    open("artifacts/%d" % n, "wb").write(os.urandom(50000))\n',
    );
    const { run } = await follow((await start()).id);
    const others = await Promise.all([open(session.project), open(session.project)]);
    const all = await Promise.all([session, ...others].map((each) => collectArtifacts(each, run)));
    for (const other of others) other.close();
    expect(all.map(({ artifacts }) => artifacts.length)).toEqual([40, 40, 40]);
    for (const { path, sha256 } of all[0].artifacts) {
      const there = readFileSync(join(workspace, 'model', path));
      expect(createHash('sha256').update(there).digest('hex')).toBe(sha256);
    }
  }, 120_000);
});
