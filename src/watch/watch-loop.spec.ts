import { createHash, createHmac } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateSync, inflateSync } from 'node:zlib';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import type { Fixture } from '../local-aws/local-aws.fixture';
import type { Edit } from '../command/plan';
import { FileEvents } from '../workspace/files/file-events';
import type { WatchPace } from './watcher-client';
import { listed, Pipeline, startPipeline } from '../run/pipeline.fixture';
import { Rescan } from './rescan';
import type { Workspace } from '../project/scan-project';
import { Watch } from './watch-loop';
import { Problem } from '../report/problem';
import { until } from '../system/until.fixture';

/** For the error: what was printed. */
const saying = (said: string[]) => ({ what: () => said.join('\n') });

describe('a watch', () => {
  let at: Fixture;
  let pipe: Pipeline;
  let running: { stop(): Promise<unknown> }[];
  beforeAll(async () => void (at = await startPipeline()));
  afterAll(() => at.close());
  beforeEach(async () => {
    running = [];
    pipe = await new Pipeline(at, 'auto').open({}, 'remote-sync');
    pipe.write('model/train.py', 'one');
    pipe.write('model/lib/a.py', 'a');
  });
  afterEach(async () => {
    at.aws.faults.clear();
    for (const each of running) await each.stop();
    pipe.close();
  });

  const begin = async (
    options: { pace?: Partial<WatchPace>; force?: boolean; list?: () => Promise<string[]>; of?: Pipeline } = {},
  ) => {
    const { of = pipe } = options;
    const { context, workspace: workspaceRoot, project } = of;
    const { configuration, printer } = context;
    const projectGraph: Workspace['projectGraph'] = {
      nodes: { [project]: { name: project, type: 'app', data: { root: 'model' } } },
      dependencies: {},
    };
    const workspace: Workspace = { workspaceRoot, projectGraph, project, configuration, printer };
    const controller = new AbortController();
    const events = new FileEvents({
      workspaceRoot,
      places: ['model'],
      except: ['model/artifacts'],
      onLoss: (why) => of.said.push(why),
    });
    const list = options.list ?? (async () => listed(workspaceRoot).filter((path) => !path.startsWith('.git/')));
    const watch = new Watch(context, workspace, {
      events,
      rescan: new Rescan(workspace, list),
      signal: controller.signal,
      force: options.force,
      pace: { lease: 60_000, notice: 3_000, patience: 10_000, ...options.pace },
    });
    let over: unknown;
    const ended = watch.run().then(
      () => undefined,
      (error: Error) => (over = error),
    );
    const stop = async () => {
      controller.abort(new Error('stopped'));
      await ended;
      events.close();
      return over;
    };
    running.push({ stop });
    const place = join(at.directory, 'instances', context.instance, 'root/trees', context.tree);
    const watched = {
      watch,
      stop,
      ended,
      tree: join(place, 'files'),
      /** The process on the instance. */
      pid: () => (JSON.parse(readFileSync(join(place, 'watch'), 'utf8')) as { pid: number }).pid,
      starts: () => of.said.filter((text) => text.startsWith('Synced') && text.includes(context.instance)).length,
      /** Waits until the tree is what the workspace is. */
      inStep: () => until(() => same(workspaceRoot, watched.tree), saying(of.said)),
    };
    await until(() => over !== undefined || of.said.some((text) => text.startsWith('Watching')), saying(of.said));
    if (over) throw over;
    return watched;
  };
  const same = (workspace: string, tree: string) => {
    if (!existsSync(tree)) return false;
    const files = listed(workspace).filter((path) => !path.startsWith('.git/'));
    return (
      JSON.stringify(listed(tree)) === JSON.stringify(files) &&
      files.every((path) => readFileSync(join(tree, path)).equals(readFileSync(join(workspace, path))))
    );
  };
  const isAlive = (pid: number) => {
    try {
      // A zombie is dead.
      return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    } catch {
      return false;
    }
  };
  const said = (text: string) => pipe.said.some((line) => line.includes(text));
  const commands = () => at.aws.requests.filter(({ action }) => action === 'SendCommand').length;
  /** Those of this test's project. */
  const requests = (method: string, path: RegExp) =>
    at.aws.requests.filter(
      (each) =>
        each.action === method &&
        decodeURIComponent(each.path).includes(encodeURIComponent(pipe.project)) &&
        path.test(each.path),
    );

  it('sends each save to the instance without a command, and says how long it took', async () => {
    const { inStep, tree } = await begin();
    const before = commands();
    pipe.write('model/train.py', 'two');
    await inStep();
    await until(
      () => pipe.said.some((line) => /^Synced model\/train\.py \(3 B\) in [\d.]+ m?s$/.test(line)),
      saying(pipe.said),
    );
    pipe.write('model/new/deep/b.py', 'b', 0o755);
    await inStep();
    rmSync(join(pipe.workspace, 'model/lib'), { recursive: true });
    await inStep();
    renameSync(join(pipe.workspace, 'model/train.py'), join(pipe.workspace, 'model/main.py'));
    await inStep();
    expect(existsSync(join(tree, 'model/lib'))).toBe(false);
    expect(commands()).toBe(before);
  });

  it('ends with Ctrl+C: no process on the instance, no object in the store, and the next sync knows what the tree holds', async () => {
    const { inStep, pid, stop, watch } = await begin();
    pipe.write('model/train.py', 'two');
    await inStep();
    await until(() => said('Synced model/train.py'));
    const process = pid();
    expect(isAlive(process)).toBe(true);
    await stop();
    await until(() => !isAlive(process));
    expect(await pipe.stored()).toEqual([]);
    expect(watch.stats.summary()).toMatch(/^Watched for .*: 1 edit, 1 file \(3 B\), the slowest in [\d.]+ m?s\.$/);
    const { reply, sent } = await pipe.sync();
    expect({ ...sent, healed: reply.healed }).toMatchObject({ files: 0, bytes: 0, uploaded: 0, healed: false });
    // And so does a machine that was not there.
    await pipe.forget();
    expect((await pipe.sync()).reply).toMatchObject({ written: 0, healed: false });
  });

  it('ends with Ctrl+C in the middle of an edit, which still arrives', async () => {
    const { pid, stop, tree } = await begin();
    const process = pid();
    at.aws.faults.add({ service: 's3', action: 'POST', delay: 300 });
    pipe.write('model/train.py', 'two');
    await until(() => requests('PUT', /\/watch\//).length === 1);
    await stop();
    await until(() => !isAlive(process), saying(pipe.said));
    expect(readFileSync(join(tree, 'model/train.py'), 'utf8')).toBe('two');
    expect(await pipe.stored()).toEqual([]);
  });

  it('leaves no process on the instance if it ends while the command that starts the watcher is on its way', async () => {
    at.aws.faults.add({ service: 'ssm', action: 'SendCommand', delay: 200 });
    const before = commands();
    const beginning = begin();
    await until(() =>
      existsSync(join(at.directory, 'instances', pipe.context.instance, 'root/trees', pipe.context.tree)),
    );
    await running[0].stop();
    await expect(beginning).rejects.toThrow('stopped');
    const place = join(at.directory, 'instances', pipe.context.instance, 'root/trees', pipe.context.tree, 'watch');
    await until(() => !isAlive((JSON.parse(readFileSync(place, 'utf8')) as { pid: number }).pid), saying(pipe.said));
    expect(commands()).toBe(before + 1);
  });

  it('sends a burst of 200 files, and a switch of branches with 10,000', async () => {
    const { inStep, watch } = await begin();
    for (let file = 0; file < 200; file++) pipe.write(`model/burst/${file}.py`, `# ${file}`);
    await inStep();
    mkdirSync(join(pipe.workspace, '.git'));
    writeFileSync(join(pipe.workspace, '.git/index.lock'), '');
    for (let file = 0; file < 10_000; file++) pipe.write(`model/branch/${file % 100}/${file}.py`, `# ${file}\n`);
    rmSync(join(pipe.workspace, 'model/burst'), { recursive: true });
    rmSync(join(pipe.workspace, '.git/index.lock'));
    await until(() => said('200 files deleted'), saying(pipe.said));
    await inStep();
    expect(watch.stats.result()).toMatchObject({ edits: 2, files: 10_400, starts: 0 });
  });

  it('sends what changed while an edit was on its way with the next one', async () => {
    const { inStep } = await begin();
    at.aws.faults.add({ service: 's3', action: 'POST', delay: 400 });
    pipe.write('model/train.py', 'two');
    await until(() => requests('PUT', /\/watch\/[0-9a-f]+\/1$/).length === 1);
    for (let version = 0; version < 5; version++) pipe.write('model/train.py', `version ${version}`);
    await inStep();
    await until(
      () => pipe.said.filter((line) => line.startsWith('Synced model/train.py')).length === 2,
      saying(pipe.said),
    );
  });

  it('never shows a forged message, and accepts each number once', async () => {
    const { tree, inStep } = await begin();
    const prefix = `v2/projects/${encodeURIComponent(pipe.project)}/watch/`;
    pipe.write('model/train.py', 'two');
    await inStep();
    const [edit] = requests('PUT', /\/watch\//);
    const [, context] = /\/watch\/([0-9a-f]{16})\/1$/.exec(edit.path)!;
    await until(() => said('Synced model/train.py'));
    const key = `${prefix}${context}/2`;
    const body = Buffer.from('whatever');
    const forged = Buffer.concat([
      createHmac('sha256', Buffer.alloc(32)).update(`edit ${context} 2\n`).update(body).digest(),
      body,
    ]);
    await at.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key: key, Body: forged }));
    await until(() => requests('GET', /\/2$/).some(({ status }) => status === 200));
    expect(readFileSync(join(tree, 'model/train.py'), 'utf8')).toBe('two');
    // An acknowledgement is forged before the true one is there, by somebody who has read the edit.
    at.aws.faults.add({ service: 's3', action: 'POST', delay: 800 });
    const shown = () => pipe.said.filter((line) => line.startsWith('Synced model/train.py')).length;
    pipe.write('model/train.py', 'three');
    await until(() => requests('PUT', /\/2$/).length === 2);
    const written = (await pipe.context.store.get(key, 2 ** 20))!;
    const { sync } = JSON.parse(inflateSync(written.subarray(32)).toString()) as Edit;
    const reply = {
      v: 1,
      ok: true,
      n: 2,
      head: sync!.snapshot,
      written: 1,
      reverted: [],
      revertedCount: 0,
      kept: null,
    };
    const lie = Buffer.concat([written.subarray(0, 32), deflateSync(JSON.stringify(reply))]);
    await at.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key: `${prefix}${context}/ack-2`, Body: lie }));
    const read = () => requests('GET', /ack-2$/).filter(({ status }) => status === 200).length;
    await until(() => read() > 2);
    expect(shown()).toBe(1);
    await until(() => shown() === 2, saying(pipe.said));
  });

  it('syncs an edit that is undone while its acknowledgement can not be read', async () => {
    const { inStep, tree, watch } = await begin({ pace: { notice: 200, patience: 2_000 } });
    const { store } = pipe.context;
    const get = store.get.bind(store);
    // As if somebody who writes to the bucket had put it in the place of the acknowledgement.
    jest.spyOn(store, 'get').mockImplementation(async (key, ...more) => {
      if (!key.endsWith('/ack-1') || watch.stats.starts) return get(key, ...more);
      await store.put(`${key}-large`, Buffer.alloc(1_200_000, 7));
      return get(`${key}-large`, ...more).finally(() => store.delete([`${key}-large`]));
    });
    pipe.write('model/train.py', 'two');
    await until(() => said("can't be read"), saying(pipe.said));
    await until(() => readFileSync(join(tree, 'model/train.py'), 'utf8') === 'two');
    expect(said('It is not known whether the last edit was applied')).toBe(true);
    pipe.write('model/train.py', 'one');
    await inStep();
    expect(said('its acknowledgement could not be read for')).toBe(true);
    expect([watch.stats.starts, said('not synced')]).toEqual([1, false]);
  });

  it('syncs an edit that is undone after S3 refused to take it a second time, with the watcher that is active', async () => {
    const { inStep, tree, watch } = await begin();
    const { store } = pipe.context;
    const [get, put] = [store.get.bind(store), store.put.bind(store)];
    let puts = 0;
    jest.spyOn(store, 'get').mockImplementation(async (key, ...more) => {
      if (!key.endsWith('/ack-1') || !puts || puts > 1) return get(key, ...more);
      await until(() => readFileSync(join(tree, 'model/train.py'), 'utf8') === 'two');
      throw new Problem('STORE_GET', 'cut', { cause: Object.assign(new Error('cut'), { code: 'ECONNRESET' }) });
    });
    jest.spyOn(store, 'put').mockImplementation(async (key, ...more) => {
      const isAgain = key.endsWith('/1') && ++puts > 1;
      if (isAgain && puts < 5)
        throw new Problem('STORE_PUT', 'no', { aws: { code: 'AccessDenied', message: 'no', status: 403 } });
      return put(key, ...more);
    });
    pipe.write('model/train.py', 'two');
    await until(() => said('it is not known whether the last edit was applied: no'), saying(pipe.said));
    pipe.write('model/train.py', 'one');
    await inStep();
    expect([puts, watch.stats.starts]).toEqual([5, 0]);
  });

  it('continues through cuts and refusals of S3, and says so once', async () => {
    const { inStep, watch } = await begin();
    for (const action of ['PUT', 'GET', 'POST']) {
      at.aws.faults.add({ service: 's3', action, times: 6, cut: 'before' });
      at.aws.faults.add({ service: 's3', action, times: 2, error: { code: 'SlowDown', status: 503 } });
      pipe.write('model/train.py', `through ${action}`);
      await inStep();
    }
    await until(() => said('Synced model/train.py'), saying(pipe.said));
    expect(watch.stats.starts).toBe(0);
    expect(pipe.said.filter((line) => line.startsWith('Lost the connection')).length).toBeLessThanOrEqual(3);
  });

  it('starts the watcher again if it was killed, and sends the edits of that time', async () => {
    const { inStep, pid, watch } = await begin({ pace: { notice: 200, patience: 1_000 } });
    const before = pid();
    process.kill(before, 'SIGKILL');
    pipe.write('model/train.py', 'after the kill');
    await inStep();
    await until(() => said('Starting the watcher on'));
    expect([watch.stats.starts, pid() === before]).toEqual([1, false]);
    pipe.write('model/train.py', 'and on');
    await inStep();
    expect(said('No answer from')).toBe(true);
  });

  it('starts the watcher again after a boot of the instance, and restores a tree that was replaced', async () => {
    const { inStep, watch, tree } = await begin({ pace: { notice: 200, patience: 1_000 } });
    const box = at.aws.named.get('box')!;
    at.aws.instances.endProcesses(box.id);
    rmSync(join(at.directory, 'instances', box.id, 'root'), { recursive: true });
    pipe.write('model/train.py', 'on a new disk');
    await inStep();
    expect(watch.stats.starts).toBe(1);
    expect(existsSync(tree)).toBe(true);
  });

  it('starts the watcher again at once if it reports its own end, for example after a sleep of this machine', async () => {
    let asleep = 0;
    const { inStep, watch } = await begin({
      pace: { lease: 1_000 },
      list: async () => {
        await new Promise((resolve) => setTimeout(resolve, asleep));
        return listed(pipe.workspace);
      },
    });
    asleep = 2_500;
    pipe.write('model/new.py', 'awake');
    await inStep();
    await until(() => said('nothing was heard for 1 s'), saying(pipe.said));
    expect([watch.stats.starts, said('No answer from')]).toEqual([1, false]);
  });

  it('starts the watcher again if its machine told it to end', async () => {
    const { inStep, pid } = await begin();
    process.kill(pid(), 'SIGTERM');
    await until(() => said('again: the watcher has ended: terminated'), saying(pipe.said));
    pipe.write('model/train.py', 'two');
    await inStep();
  });

  it('keeps the lease while nothing happens', async () => {
    const { pid, watch } = await begin({ pace: { lease: 1_500 } });
    const process = pid();
    await until(() => requests('PUT', /\/watch\/[0-9a-f]+\/[2-9]$/).length > 1);
    expect([isAlive(process), watch.stats.starts]).toEqual([true, 0]);
  });

  it('sends the full snapshot if the tree holds another one, without a command', async () => {
    const { inStep, tree } = await begin();
    const other = await new Pipeline(at, 'auto').open({}, 'remote-sync');
    Object.assign(other, { project: pipe.project });
    await other.open({}, 'remote-sync');
    Object.assign(other.context, { tree: pipe.context.tree });
    other.write('model/theirs.py', 'theirs');
    await other.sync();
    expect(listed(tree)).toEqual(['model/theirs.py']);
    const before = commands();
    pipe.write('model/train.py', 'mine');
    await inStep();
    expect(commands()).toBe(before);
    other.close();
  });

  it('reports what was changed on the instance, and keeps it', async () => {
    const { inStep, tree } = await begin();
    writeFileSync(join(tree, 'model/lib/a.py'), 'changed there');
    pipe.write('model/train.py', 'two');
    await inStep();
    await until(() =>
      said(
        '1 synced file had been changed on the instance and was put back: model/lib/a.py; the replaced files are in',
      ),
    );
  });

  it('sends large and sensitive files, the large ones in packs, and never in a command', async () => {
    const { inStep } = await begin();
    const large = Buffer.concat(
      Array.from({ length: 100_000 }, (_, number) => createHash('sha256').update(String(number)).digest()),
    );
    pipe.write('model/large.bin', large);
    await inStep();
    pipe.write(
      'model/large.bin',
      Buffer.concat([large.subarray(0, 1_000_000), Buffer.from('edit'), large.subarray(1_000_000)]),
    );
    pipe.write('model/api.key', 'secret');
    await inStep();
  });

  it("says which file can't be sent, and continues when that is repaired", async () => {
    const { inStep } = await begin();
    renameSync(join(pipe.workspace, 'model/lib/a.py'), join(pipe.workspace, 'model/lib/A.py'));
    pipe.write('model/lib/a.py', 'two names that are one on some file systems');
    await until(() => said('not synced: '), saying(pipe.said));
    rmSync(join(pipe.workspace, 'model/lib/A.py'));
    await inStep();
  });

  it("continues although files of this machine can't be opened, and says so once", async () => {
    let failing = false;
    let failed = 0;
    const list = async () => {
      const files = listed(pipe.workspace).filter((path) => !path.startsWith('.git/'));
      if (!failing) return files;
      failed++;
      const errno = { code: 'ENFILE', syscall: 'open', path: '/somewhere' };
      throw Object.assign(new Error('ENFILE: file table overflow'), errno);
    };
    const { inStep, ended } = await begin({ list });
    failing = true;
    // A new file has the files listed, which fails more often than an error of the plugin's own may.
    for (let n = 0; n < 8; n++) {
      const before = failed;
      pipe.write(`model/new-${n}`, 'new');
      await until(() => failed > before, saying(pipe.said));
    }
    expect(pipe.said.filter((line) => line.includes('Too many files are open in this machine'))).toHaveLength(1);
    failing = false;
    pipe.write('model/last', 'last');
    await inStep();
    expect(await Promise.race([ended, 'active'])).toBe('active');
  });

  it('continues when the clock of this machine is right again, and says once that it is wrong', async () => {
    const { inStep, ended } = await begin();
    const message = 'The difference between the request time and the current time is too large.';
    const error = { code: 'RequestTimeTooSkewed', message, status: 403 };
    at.aws.faults.add({ service: 's3', times: 100_000, error });
    for (let n = 0; n < 3; n++) {
      const before = requests('PUT', /\/watch\//).length + requests('GET', /\/watch\//).length;
      pipe.write('model/train.py', `off ${n}`);
      await until(
        () => requests('PUT', /\/watch\//).length + requests('GET', /\/watch\//).length > before + 1,
        saying(pipe.said),
      );
    }
    await until(() => said("This machine's clock is off"), saying(pipe.said));
    at.aws.faults.clear();
    pipe.write('model/train.py', 'right');
    await inStep();
    expect(pipe.said.filter((line) => line.includes('clock is off'))).toHaveLength(1);
    expect(await Promise.race([ended, 'active'])).toBe('active');
  });

  it('ends with a message when another watch of the tree starts', async () => {
    const first = await begin();
    await first.inStep();
    const other = await new Pipeline(at, 'auto').open({}, 'remote-sync');
    Object.assign(other, { project: pipe.project });
    await other.open({}, 'remote-sync');
    Object.assign(other.context, { tree: pipe.context.tree });
    other.write('model/train.py', 'theirs');
    const second = await begin({ of: other });
    expect((await first.ended) as unknown).toMatchObject({ code: 'WATCH_SUPERSEDED' });
    other.write('model/train.py', 'still theirs');
    await second.inStep();
    await second.stop();
    other.close();
  });

  it('ends, and leaves the other watch alone, if the message that another watch has started was deleted', async () => {
    const first = await begin({ pace: { notice: 200, patience: 1_000 } });
    const other = await new Pipeline(at, 'auto').open({}, 'remote-sync');
    Object.assign(other, { project: pipe.project });
    await other.open({}, 'remote-sync');
    Object.assign(other.context, { tree: pipe.context.tree });
    other.write('model/train.py', 'theirs');
    jest.spyOn(pipe.context.store, 'get').mockImplementation(async () => null);
    const second = await begin({ of: other });
    pipe.write('model/train.py', 'ours again');
    expect((await first.ended) as unknown).toMatchObject({ code: 'WATCH_SUPERSEDED' });
    other.write('model/train.py', 'still theirs');
    await second.inStep();
    expect(second.watch.stats.starts).toBe(0);
    await second.stop();
    other.close();
  });

  it('fails if the first sync fails', async () => {
    at.aws.faults.add({
      service: 'ssm',
      action: 'SendCommand',
      times: 9,
      error: { code: 'AccessDeniedException', status: 400 },
    });
    await expect(begin()).rejects.toMatchObject({ code: 'COMMAND_SEND' });
  });
});
