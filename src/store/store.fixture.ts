import { createHash, randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Aws } from '../aws/clients';
import { startFixture, type Fixture } from '../local-aws/local-aws.fixture';
import { LOCAL_IDENTITY } from '../local-aws/protocol/identity';
import type { StoredObject } from '../local-aws/s3/objects';
import { Snapshot } from '../snapshot/snapshot';
import { StoreKeys } from './keys';
import { PackWriter, type Pack } from './packs/pack';
import { PackIndex } from './packs/pack-index';
import { Store } from './store';
import { signedBytes } from '../run/record/saved-run.fixture';
import { encodeDelta, encodeFull, type ContentLocations } from '../sync/manifest/manifest';
import { formatIndex, indexName } from './packs/index-format';

export const DAY = 24 * 3_600_000;

const sha256 = (data: Buffer | string) => createHash('sha256').update(data).digest('hex');

/** A store on local AWS that is filled as syncs fill it, object by object, and whose time passes as a test says. */
export class StoreFixture {
  private constructor(
    readonly local: Fixture,
    private readonly aws: Aws,
    readonly store: Store,
    private readonly environment: NodeJS.ProcessEnv,
  ) {}

  /** @param deny the actions that its caller is denied, as they are at the time of a request. */
  static async start(deny: string[] = []): Promise<StoreFixture> {
    const caller = { ...LOCAL_IDENTITY, accessKeyId: 'AKIASTOREFIXTURE0001', deny };
    const local = await startFixture({ instances: [], identities: [caller] });
    const environment = { ...process.env };
    const { endpoint, region, credentials } = local.clientOptions;
    Object.assign(process.env, {
      AWS_ENDPOINT_URL: endpoint,
      AWS_REGION: region,
      AWS_ACCESS_KEY_ID: caller.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
      NX_EC2_CACHE_DIRECTORY: join(local.directory, 'memory'),
    });
    const aws = new Aws({});
    return new StoreFixture(local, aws, new Store(aws, { bucket: 'bucket' }), environment);
  }

  async close(): Promise<void> {
    this.aws.close();
    process.env = this.environment;
    await this.local.close();
  }

  keys(project = 'model'): StoreKeys {
    return new StoreKeys('team', project);
  }

  /** A pack with one chunk of its own. */
  async pack(content: Buffer = randomBytes(40)): Promise<Pack> {
    const writer = new PackWriter(() => 6);
    writer.add([sha256(content), content.length], content);
    const pack = (await writer.finish())!;
    await this.store.putContentAddressed(this.keys().pack(pack.sha256), pack.sha256, pack.bytes);
    return pack;
  }

  async index(packs: Pack[], time = new Date()): Promise<string> {
    const bytes = formatIndex(
      packs.map(({ sha256, bytes, chunks }) => ({ sha256, size: bytes.length, chunks: chunks.map(([name]) => name) })),
    );
    const key = this.keys().index(indexName(bytes, time));
    await this.store.put(key, bytes);
    return key;
  }

  /** @param base of the manifest; none: it is full. */
  async manifest(packs: Pack[], base: Snapshot | null = null, project = 'model'): Promise<Snapshot> {
    const content = sha256(randomBytes(8));
    const snapshot = Snapshot.of([
      { kind: 'file', path: `file-${content}`, sha256: content, size: 1, executable: false },
    ]);
    const where: ContentLocations = {
      recipes: {},
      packs: packs.map(({ sha256, bytes }) => [sha256, bytes.length]),
      inline: {},
    };
    const bytes = base ? encodeDelta(base, snapshot, where)! : encodeFull(snapshot, where);
    await this.store.put(this.keys(project).manifest(snapshot.id), bytes);
    return snapshot;
  }

  async ref(history: Snapshot[], name = 'tree/i-1', project = 'model', runtime = sha256('runtime')): Promise<string> {
    const ids = history.map(({ id }) => id);
    const [tree, instance] = name.split('/');
    const key = this.keys(project).ref(tree, instance);
    await this.store.put(key, Buffer.from(JSON.stringify({ v: 2, snapshot: ids.at(-1), history: ids, runtime })));
    return key;
  }

  /**
   * A run's record, signed, and what a test says besides, by names below the run's prefix. @returns the keys, by those names.
   */
  async run(id: string, manifest: object | null, more: Record<string, object | string> = {}, project = 'model') {
    const keys = new Map<string, string>();
    const put = async (name: string, bytes: Buffer) => {
      keys.set(name, this.keys(project).run(id) + name);
      await this.store.put(keys.get(name)!, bytes);
    };
    for (const [name, value] of Object.entries(more))
      await put(name, Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));
    if (manifest)
      await put(
        'record.json',
        await signedBytes(this.store, this.keys(project), {
          project,
          tree: 't',
          runKey: 'k',
          snapshot: '',
          caller: 'c',
          ...manifest,
          id,
        }),
      );
    return keys;
  }

  /** Lets time pass for everything that is in the bucket, for some keys alone, or for each key so many days. */
  age(time: number | ReadonlyMap<string, number>, keys?: string[]): void {
    for (const file of readdirSync(this.bucket).filter((name) => name.endsWith('.json'))) {
      const path = join(this.bucket, file);
      const object = JSON.parse(readFileSync(path, 'utf8')) as StoredObject;
      const days = typeof time === 'number' ? time : time.get(object.key);
      if (days === undefined || (keys && !keys.includes(object.key))) continue;
      object.modified -= days * DAY;
      if (object.key === this.keys().pendingDeletes) {
        const list = JSON.parse(readFileSync(path.slice(0, -5), 'utf8')) as {
          pendingDeletes: Record<string, number | null>;
        };
        for (const [name, since] of Object.entries(list.pendingDeletes))
          if (since !== null) list.pendingDeletes[name] = since - days * DAY;
        writeFileSync(path.slice(0, -5), JSON.stringify(list));
        object.headers = {};
        object.size = JSON.stringify(list).length;
      }
      writeFileSync(path, JSON.stringify(object));
    }
    this.local.aws.reread();
  }

  /** The keys that are there. */
  async there(): Promise<Set<string>> {
    return new Set((await this.store.list('', 10_000)).map(({ key }) => key));
  }

  /** Where a machine which knows nothing finds the chunks of packs. */
  async finder(): Promise<(pack: Pack) => string | undefined> {
    const index = new PackIndex(this.store, this.keys(), undefined);
    await index.refresh();
    return (pack) => index.find(pack.chunks[0][0])?.sha256;
  }

  async found(pack: Pack): Promise<string | undefined> {
    return (await this.finder())(pack);
  }

  empty(): void {
    rmSync(this.bucket, { recursive: true });
    mkdirSync(this.bucket);
    this.local.aws.reread();
  }

  /** Remembers what is in the bucket. @returns what brings it back. */
  save(): () => void {
    const copy = join(this.local.directory, 'saved');
    rmSync(copy, { recursive: true, force: true });
    cpSync(this.bucket, copy, { recursive: true });
    return () => {
      rmSync(this.bucket, { recursive: true });
      cpSync(copy, this.bucket, { recursive: true });
      this.local.aws.reread();
    };
  }

  private get bucket(): string {
    return join(this.local.directory, 's3', 'bucket');
  }
}
