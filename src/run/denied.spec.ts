import { LaunchJournal } from '../instance/launch/launch-journal';
import { LOCAL_IDENTITY } from '../local-aws/protocol/identity';
import type { Store } from '../store/store';
import { StoreFixture } from '../store/store.fixture';
import type { SyncContext } from '../sync/context';
import { readHead } from '../sync/manifest/head';
import { readSnapshot } from '../sync/manifest/read-snapshot';
import { latestRunForKey, runsForKey } from './find/run-key-index';
import { latestRun, readRecord, tryReadRecord } from './record/record';
import { RecordWatch } from './record/record-poller';
import { putRecord, recordOf, RUN } from './record/saved-run.fixture';
import { StoredLog } from './record/stored-log';

const PLAIN = { code: 'AccessDenied', message: 'Access Denied', status: 403 };
const NAMED = {
  ...PLAIN,
  message: `User: ${LOCAL_IDENTITY.arn} is not authorized to perform: s3:GetObject on resource: "arn:aws:s3:::bucket/x" because no identity-based policy allows the s3:GetObject action`,
};
const DENIED = {
  code: 'STORE_GET',
  message: expect.stringMatching(
    /Could not read s3:\/\/bucket\/team\/v2\/[^]*AWS says: AccessDenied: [^]*s3:GetObject: the CallerPolicy/,
  ),
};

describe('an object that the caller may not read', () => {
  let at: StoreFixture;
  const denied: string[] = [];
  const deny = (error = PLAIN) => at.local.aws.faults.add({ service: 's3', action: 'GET', times: 1, error });
  beforeAll(async () => {
    at = await StoreFixture.start(denied);
    // A request that is refused is sent again by the SDK, which sends all later ones.
    deny();
    await at.store.get('absent', 1);
  });
  afterAll(() => at.close());
  beforeEach(async () => {
    denied.length = 0;
    at.empty();
    await putRecord(at.store, at.keys(), recordOf());
    // The secret of the store is read before the first record.
    await readRecord(at.store, at.keys(), RUN);
  });
  const key = 'a'.repeat(64);

  const reads: [string, (store: Store) => Promise<unknown>][] = [
    ['a record', (store) => readRecord(store, at.keys(), RUN)],
    ['a record where others are passed over', (store) => tryReadRecord(store, at.keys(), RUN)],
    ['a record that is followed', (store) => new RecordWatch(store, at.keys(), RUN).look()],
    ['the runs of a training', (store) => runsForKey({ store, keys: at.keys() }, key)],
    ['the latest run of a training', (store) => latestRunForKey({ store, keys: at.keys() }, key)],
    ['a launch journal', (store) => new LaunchJournal(store, at.keys(), 'hash').read()],
    ['a segment of a log', (store) => new StoredLog(store, at.keys(), { id: RUN }).read(0)],
    ['a head', (store) => readHead({ store, keys: at.keys(), tree: 'tree' } as SyncContext, 'i-1')],
    ['a manifest', (store) => readSnapshot(store, at.keys(), key)],
  ];
  const fill = async () => {
    const keys = at.keys();
    for (const each of [keys.key(key), `${keys.run(RUN)}log/0`, keys.ref('tree', 'i-1'), keys.manifest(key)])
      await at.store.put(each, Buffer.from('{}'));
    await at.store.put(new LaunchJournal(at.store, keys, 'hash').key, Buffer.from('{}'));
  };

  it.each(reads)('is not taken for absent: %s', async (_, read) => {
    await fill();
    for (const error of [PLAIN, NAMED]) {
      deny(error);
      await expect(read(at.store)).rejects.toMatchObject(DENIED);
    }
  });

  it('fails the search for the latest run', async () => {
    denied.push('s3:GetObject');
    await expect(latestRun(at.store, at.keys())).rejects.toMatchObject(DENIED);
  });

  it('is absent if the list of the bucket does not have it', async () => {
    deny();
    expect(await readRecord(at.store, at.keys(), '20250101-000000-model-bbbbbb')).toBeNull();
  });

  it('is absent if S3 names the permission to list, as it does for an object that does not exist', async () => {
    denied.push('s3:ListBucket');
    expect(await readRecord(at.store, at.keys(), '20250101-000000-model-bbbbbb')).toBeNull();
    expect((await readRecord(at.store, at.keys(), RUN))!.record.id).toBe(RUN);
  });

  it('is said to be unknown if the caller may neither read nor list', async () => {
    at.local.aws.faults.add({ service: 's3', action: 'GET', times: 2, error: PLAIN });
    await expect(tryReadRecord(at.store, at.keys(), RUN)).rejects.toMatchObject({
      code: 'STORE_GET',
      message: expect.stringMatching(
        /It may not exist[^]*AccessDenied: Access Denied[^]*s3:ListBucket: the CallerPolicy/,
      ),
    });
  });
});
