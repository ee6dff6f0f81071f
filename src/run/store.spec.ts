import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { putUnreadable, UNREADABLE } from '../local-aws/unreadable.fixture';
import { MAX_HISTORY } from '../sync/manifest/manifest';
import { listed, Pipeline, startPipeline } from './pipeline.fixture';

const MB = 1024 * 1024;

/** What the store is for: nothing is sent twice, whatever happened in between. */
describe('syncing by the transport "store"', () => {
  let at: Fixture;
  let pipe: Pipeline;
  beforeAll(async () => void (at = await startPipeline({ instances: ['box', 'second'] })));
  afterAll(() => at.close());
  beforeEach(async () => void (pipe = await new Pipeline(at, 'store').open()));
  afterEach(() => {
    at.aws.faults.clear();
    pipe.close();
  });

  const id = (name: string) => at.aws.named.get(name)!.id;
  /** Whether the tree holds what the workspace does. */
  const expectRight = (tree: string) => {
    const files = listed(pipe.workspace);
    expect(listed(tree)).toEqual(files);
    for (const path of files)
      expect(readFileSync(join(tree, path)).equals(readFileSync(join(pipe.workspace, path)))).toBe(true);
  };
  const source = (seed: number, lines = 300) =>
    Array.from({ length: lines }, (_, line) =>
      createHash('sha256').update(`${seed} ${line}`).digest('hex').slice(0, 20),
    ).join('\n');
  const project = (files: number) => {
    for (let file = 0; file < files; file++) pipe.write(`model/src/${file}.py`, source(file));
  };
  const content = async (key: string) => (await pipe.context.store.get(key, 20 * MB))!;
  const packs = () => pipe.keys((key) => key.includes('v2/packs/'));

  it('sends a small edit inside the one command, and no byte to the store before it', async () => {
    project(60);
    expect((await pipe.sync()).sent.uploaded).toBeGreaterThan(0);
    pipe.write('model/src/7.py', `${source(7)}\n# edited`);
    const { sent, commands, reply } = await pipe.sync();
    expect({ uploaded: sent.uploaded, files: sent.files, commands }).toEqual({ uploaded: 0, files: 1, commands: 1 });
    expectRight(reply.tree);
  });

  it('keeps sensitive files, and all files if inline is off, out of the command history', async () => {
    pipe.write('model/api.key', 'k');
    expect((await pipe.sync()).sent.uploaded).toBeGreaterThan(0);
    pipe.write('model/plain', 'x');
    expect((await pipe.sync()).sent.uploaded).toBe(0);
    await pipe.open({ sync: { allowInline: false } });
    pipe.write('model/plain', 'y');
    const { sent, reply } = await pipe.sync();
    expect(sent.uploaded).toBeGreaterThan(0);
    expectRight(reply.tree);
  });

  it('sends a few chunks if something is inserted in the middle of a large file', async () => {
    const content = randomBytes(24 * MB);
    pipe.write('model/large.bin', content);
    expect((await pipe.sync()).sent.uploaded).toBeGreaterThan(24 * MB);
    pipe.write(
      'model/large.bin',
      Buffer.concat([content.subarray(0, 12 * MB), randomBytes(MB), content.subarray(12 * MB)]),
    );
    const { sent, reply, commands } = await pipe.sync();
    expect(commands).toBe(1);
    expect(sent.uploaded).toBeLessThan(1.6 * MB);
    expectRight(reply.tree);
  });

  it('uploads no content that the store has, from a machine without a cache', async () => {
    project(40);
    pipe.write('model/large.bin', randomBytes(3 * MB));
    await pipe.sync();
    await pipe.forget();
    rmSync(join(at.directory, 'instances', id('box'), 'root'), { recursive: true });
    const other = await new Pipeline(at, 'store').open();
    for (const path of listed(pipe.workspace)) other.write(path, readFileSync(join(pipe.workspace, path)));
    const { sent, reply } = await other.sync();
    expect([sent.uploaded, sent.saved]).toEqual([0, sent.bytes]);
    expectRight(reply.tree);
    other.close();
  });

  it('brings several instances to the same snapshot with one upload and one command', async () => {
    project(40);
    await pipe.open({ instance: [id('box'), id('second')] }, 'remote-sync');
    const before = at.aws.requests.length;
    const { replies, commands, failures } = await pipe.sync();
    const sends = at.aws.requests.slice(before).filter(({ action }) => action === 'SendCommand');
    expect([replies.size, failures.size, commands, sends.length]).toEqual([2, 0, 1, 1]);
    for (const { tree } of replies.values()) expectRight(tree);
    await pipe.open({ instance: { tag: { Name: 'second' }, all: true } }, 'remote-sync');
    expect((await pipe.sync()).sent.uploaded).toBe(0);
  });

  it('reports the result for each of several instances, and syncs those that can be reached', async () => {
    const stopped = at.aws.instances.launch({ tags: { Name: 'stopped' }, booted: true });
    await pipe.open({ instance: [id('box'), stopped.id] }, 'remote-sync');
    pipe.write('model/a', 'one');
    await pipe.sync();
    at.aws.instances.change(stopped, 'stopped');
    pipe.write('model/a', 'two');
    const { replies, failures } = await pipe.sync();
    expect([[...replies.keys()], [...failures.keys()]]).toEqual([[id('box')], [stopped.id]]);
    expectRight(replies.get(id('box'))!.tree);
    expect(failures.get(stopped.id)!.message).toContain('InvalidInstanceId');
  });

  it('replaces in the same command what another machine has synced meanwhile, and sends nothing that the instance has', async () => {
    project(60);
    await pipe.sync();
    const mine = pipe.memory;
    const theirs = await new Pipeline(at, 'store').open();
    // The same tree from another machine: another memory, another state of the files.
    Object.assign(theirs, { project: pipe.project });
    await theirs.open();
    for (const path of listed(pipe.workspace)) theirs.write(path, readFileSync(join(pipe.workspace, path)));
    theirs.context.tree = pipe.context.tree;
    theirs.write('model/src/1.py', 'theirs');
    theirs.write('model/theirs', 'only theirs');
    await theirs.sync();
    theirs.close();

    process.env.NX_EC2_CACHE_DIRECTORY = mine;
    pipe.write('model/src/2.py', 'mine');
    const { sent, reply, commands } = await pipe.sync();
    expect({ commands, uploaded: sent.uploaded, healed: reply.healed, written: reply.written }).toEqual({
      commands: 1,
      uploaded: 0,
      healed: true,
      written: 2,
    });
    expectRight(reply.tree);
  });

  it('restores a replaced disk from the store, in the same command as a small edit', async () => {
    project(60);
    pipe.write('model/large.bin', randomBytes(3 * MB));
    const { reply } = await pipe.sync();
    for (let edit = 0; edit < 3; edit++) {
      pipe.write('model/src/3.py', `edit ${edit}`);
      await pipe.sync();
    }
    rmSync(dirname(reply.tree), { recursive: true });
    pipe.write('model/src/4.py', 'edited');
    const again = await pipe.sync();
    expect({ commands: again.commands, uploaded: again.sent.uploaded, healed: again.reply.healed }).toEqual({
      commands: 1,
      uploaded: 0,
      healed: true,
    });
    expectRight(again.reply.tree);
  });

  it('continues after more edits than a history has manifests, and still repairs a tree', async () => {
    project(5);
    const { reply } = await pipe.sync();
    for (let edit = 0; edit < MAX_HISTORY + 3; edit++) {
      pipe.write(`model/src/${edit % 5}.py`, `edit ${edit}`);
      expect((await pipe.sync()).commands).toBe(1);
    }
    rmSync(dirname(reply.tree), { recursive: true });
    await pipe.forget();
    const again = await pipe.sync();
    expect([again.commands, again.sent.uploaded]).toEqual([1, 0]);
    expectRight(again.reply.tree);
  });

  it('reverts what was changed on the instance, and keeps a copy unless forced', async () => {
    pipe.write('model/a', 'one');
    const { reply } = await pipe.sync();
    writeFileSync(join(reply.tree, 'model/a'), 'changed there');
    const kept = await pipe.sync();
    expect(kept.reply.reverted).toEqual(['model/a']);
    expect(readFileSync(join(kept.reply.kept!, 'model/a'), 'utf8')).toBe('changed there');
    expectRight(kept.reply.tree);
    writeFileSync(join(reply.tree, 'model/a'), 'changed again');
    const forced = await pipe.sync({ force: true });
    expect([forced.reply.revertedCount, forced.reply.kept]).toEqual([1, null]);
    expectRight(forced.reply.tree);
  });

  it('replaces a pack that someone tampered with, says so, and completes the tree', async () => {
    project(60);
    const { reply } = await pipe.sync();
    const [pack] = await packs();
    for (const Key of await packs())
      await at.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key, Body: randomBytes(200_000) }));
    rmSync(dirname(reply.tree), { recursive: true });
    const again = await pipe.sync();
    expectRight(again.reply.tree);
    expect(pipe.said.join('\n')).toMatch(/pack.* in the store/);
    expect(await packs()).toContain(pack);
  });

  it('sends content again that is no longer in the store', async () => {
    project(60);
    const { reply } = await pipe.sync();
    for (const Key of await packs()) await at.s3.send(new DeleteObjectCommand({ Bucket: 'bucket', Key }));
    rmSync(dirname(reply.tree), { recursive: true });
    const again = await pipe.sync();
    expect(again.sent.uploaded).toBeGreaterThan(0);
    expectRight(again.reply.tree);
  });

  it.each(UNREADABLE)('sends content again in the place of packs that S3 has and does not return (%s)', async (why) => {
    project(60);
    const { reply } = await pipe.sync();
    for (const key of await packs()) await putUnreadable(at, key, why, await content(key));
    rmSync(dirname(reply.tree), { recursive: true });
    const again = await pipe.sync();
    expect(again.sent.uploaded).toBeGreaterThan(0);
    expectRight(again.reply.tree);
  });

  it('uses an archive if a bucket has no conditional writes', async () => {
    const auto = await new Pipeline(at, 'auto').open();
    auto.write('model/a', 'one');
    await auto.sync();
    auto.write('model/new', randomBytes(100_000));
    // Without the SDK, and with it.
    at.aws.faults.add({ service: 's3', action: 'PUT', times: 2, error: { code: 'NotImplemented', status: 501 } });
    const { reply } = await auto.sync();
    expect(statSync(join(reply.tree, 'model/new')).size).toBe(100_000);
    expect(auto.said.join()).toContain('sending an archive');
    auto.close();
  });

  it('uploads the archive to a server that lacks conditional writes and refuses checksums', async () => {
    const auto = await new Pipeline(at, 'auto').open();
    auto.write('model/new', randomBytes(100_000));
    at.aws.faults.add({
      service: 's3',
      action: 'PUT',
      link: 'client',
      times: 10_000,
      headers: ['if-none-match', 'if-match', 'x-amz-sdk-checksum-algorithm', 'x-amz-checksum-crc32'],
      error: { code: 'NotImplemented', status: 501 },
    });
    try {
      const { reply } = await auto.sync();
      expect(statSync(join(reply.tree, 'model/new')).size).toBe(100_000);
      expect(auto.said.join()).toContain('sending an archive');
    } finally {
      at.aws.faults.clear();
      auto.close();
    }
  });

  it('completes the tree after a kill at any request, and sends no pack twice', async () => {
    const grow = (round: number) => {
      pipe.write('model/a.py', source(round));
      pipe.write(`model/${round}.bin`, randomBytes(2 * MB + round));
    };
    grow(0);
    await pipe.sync();
    let killed = true;
    let at_ = 0;
    for (; killed; at_++) {
      grow(at_ + 1);
      // From its n-th request on, this process reaches nothing any more; the next one has its memory alone.
      at.aws.faults.add({ after: at_, times: 10_000, error: { code: 'Killed', status: 400 } });
      killed = await pipe.sync().then(
        () => false,
        () => true,
      );
      // What settles after the command may have met it too.
      at.aws.faults.clear();
      const before = await packs();
      await pipe.open();
      const { reply } = await pipe.sync();
      expectRight(reply.tree);
      const added = (await packs()).filter((key) => !before.includes(key));
      const bytes = await Promise.all(added.map((Key) => size(Key)));
      // Once at most: what was sent before the kill is not sent again.
      expect(bytes.reduce((sum, each) => sum + each, 0)).toBeLessThan(2 * MB + 200_000);
    }
    expect(at_).toBeGreaterThan(6);
  });

  const size = async (key: string) => {
    const file = join(at.directory, 's3/bucket', createHash('sha256').update(key).digest('hex'));
    return existsSync(file) ? statSync(file).size : 0;
  };
});
