import { Aws } from '../aws/clients';
import type { Fault } from '../local-aws/link/faults';
import { checkServer, type ServerCheck } from './check-server';
import { postForm } from '../store/objects/post-form';
import { Store } from '../store/store';
import { StoreFixture } from '../store/store.fixture';
import type { StoredVersion } from '../store/objects/types';

const ALWAYS = 1_000_000;
const NOT_IMPLEMENTED = { code: 'NotImplemented', status: 501 };
const CONDITIONS = ['if-none-match', 'if-match'];
const SHA256 = ['x-amz-checksum-sha256'];

describe('what an S3 server must do', () => {
  let at: StoreFixture;
  let aws: Aws;
  beforeAll(async () => {
    at = await StoreFixture.start();
    aws = new Aws({});
  });
  afterAll(async () => {
    aws.close();
    await at.close();
  });
  afterEach(() => at.local.aws.faults.clear());

  const check = async (store = new Store(aws, { bucket: 'bucket' }), launches = false) => {
    const { checks, keys } = await checkServer(store, 'v2/test/', {
      launches,
      postForm: (post, fields, body) => postForm(aws, post, fields, body),
    });
    at.local.aws.faults.clear();
    await store.delete(keys);
    return new Map(checks.map((each) => [each.name, each]));
  };
  const missing = (checks: Map<string, ServerCheck>) => [...checks.values()].filter(({ ok }) => ok !== true);
  const fault = (more: Fault) => at.local.aws.faults.add({ service: 's3', times: ALWAYS, ...more });

  it('is done by S3 itself, and no object is left behind', async () => {
    const checks = await check();
    expect(missing(checks)).toEqual([]);
    expect([...checks.keys()]).toEqual([
      ...['conditional writes', 'read after write', 'list after write', 'checksums', 'ranges', 'presigned forms'],
    ]);
    expect(await new Store(aws, { bucket: 'bucket' }).list('', 1000)).toEqual([]);
  });

  const cases: [string, Fault, string, boolean | null, RegExp, RegExp][] = [
    [
      'conditions that are checked some time before the write',
      { action: 'PUT', headers: CONDITIONS, apart: 100 },
      ...(['conditional writes', false, /[2-8] succeeded: they are not atomic/, /two instances for one/] as const),
    ],
    [
      'If-Match that is checked some time before the write',
      { action: 'PUT', headers: ['if-match'], apart: 100 },
      ...(['conditional writes', false, /If-Match, [2-8] succeeded/, /two instances for one/] as const),
    ],
    [
      'If-None-Match that is ignored',
      { action: 'PUT', headers: CONDITIONS, ignore: ['if-none-match'] },
      ...(['conditional writes', false, /If-None-Match: \*, 8 succeeded/, /write the record of one run/] as const),
    ],
    [
      'If-Match that is ignored',
      { action: 'PUT', headers: CONDITIONS, ignore: ['if-match'] },
      ...(['conditional writes', false, /If-Match, 8 succeeded/, /write the record of one run/] as const),
    ],
    [
      'conditions that always fail',
      { action: 'PUT', headers: CONDITIONS, error: { code: 'PreconditionFailed', status: 412 } },
      ...(['conditional writes', false, /none of 8 parallel writes with If-None-Match/, /Use an S3 server/] as const),
    ],
    [
      'conditions that are not implemented',
      { action: 'PUT', headers: CONDITIONS, error: NOT_IMPLEMENTED },
      ...(['conditional writes', null, /HTTP 501/, /sent as an archive.*attached client/] as const),
    ],
    [
      'conditions that are refused',
      { action: 'PUT', headers: CONDITIONS, error: { code: 'InvalidArgument', message: 'no such header' } },
      ...(['conditional writes', false, /InvalidArgument: no such header/, /^$/] as const),
    ],
    [
      'checksums that are not implemented',
      { action: 'PUT', headers: SHA256, error: NOT_IMPLEMENTED },
      ...(['checksums', null, /HTTP 501/, /sent as an archive/] as const),
    ],
    [
      'checksums that are ignored',
      { action: 'PUT', headers: SHA256, ignore: SHA256 },
      ...(['checksums', null, /does not keep the SHA-256/, /uploaded again/] as const),
    ],
    [
      'ranges that are ignored',
      { action: 'GET', headers: ['range'], ignore: ['range'] },
      ...(['ranges', false, /something else/, /read in parts/] as const),
    ],
    [
      'forms that are refused',
      { action: 'POST', error: { code: 'MethodNotAllowed', status: 405 } },
      ...(['presigned forms', null, /HTTP 405/, /"storeAccess" to "role"/] as const),
    ],
    [
      'forms that are answered and not stored',
      { action: 'POST', error: { code: '', status: 204 } },
      ...(['presigned forms', null, /was not found/, /"storeAccess" to "role"/] as const),
    ],
    [
      'forms whose policy does not count',
      { action: 'POST', after: 1, error: { code: '', status: 204 } },
      ...(['presigned forms', false, /signed for one prefix wrote to another/, /all of the store/] as const),
    ],
    [
      'forms whose checksum does not count',
      { action: 'POST', after: 2, error: { code: '', status: 204 } },
      ...(['presigned forms', null, /SHA-256 is wrong was accepted/, /when the object is read/] as const),
    ],
  ];
  it.each(cases)('is reported as missing for %s only', async (_, given, name, ok, detail, fix) => {
    fault(given);
    const found = missing(await check());
    expect(found).toHaveLength(1);
    expect(found[0]).toMatchObject({ name, ok, detail: expect.stringMatching(detail) });
    expect(found[0].fix ?? '').toMatch(fix);
  });

  it('includes that it refuses a wrong SHA-256', async () => {
    class Lax extends Store {
      override put(...[key, body, options]: Parameters<Store['put']>) {
        return super.put(key, body, key.endsWith('checksum-wrong') ? {} : options);
      }
    }
    const found = missing(await check(new Lax(aws, { bucket: 'bucket' })));
    expect(found).toMatchObject([{ name: 'checksums', ok: null, detail: expect.stringMatching(/SHA-256 is wrong/) }]);
  });

  it('includes conditional writes if an instance is launched', async () => {
    fault({ action: 'PUT', headers: CONDITIONS, error: NOT_IMPLEMENTED });
    const found = missing(await check(undefined, true));
    expect(found).toMatchObject([{ name: 'conditional writes', ok: false, fix: expect.stringMatching(/"instance"/) }]);
  });

  it('includes reads and lists that show earlier writes', async () => {
    /** Answers as things were one request before. */
    class Behind extends Store {
      private last: StoredVersion | null = null;
      override async getWithETag(...given: Parameters<Store['getWithETag']>) {
        const now = await super.getWithETag(...given);
        if (!given[0].endsWith('/read')) return now;
        const { last } = this;
        this.last = now;
        return last ?? now;
      }
      override async list(...given: Parameters<Store['list']>) {
        return (await super.list(...given)).slice(1);
      }
    }
    const found = missing(await check(new Behind(aws, { bucket: 'bucket' })));
    expect(found).toMatchObject([
      { name: 'read after write', ok: false, detail: expect.stringMatching(/an earlier version/) },
      { name: 'list after write', ok: false, detail: expect.stringMatching(/3 of 4/) },
    ]);
  });

  it('is reported with a note that deleted objects stay in a bucket with versions, with or without object lock', async () => {
    class Versioned extends Store {
      lock?: Date;
      override async version() {
        return { version: 'a', lockedUntil: this.lock };
      }
    }
    const store = new Versioned(aws, { bucket: 'bucket' });
    expect((await check(store)).get('versions')).toMatchObject({ ok: null, fix: expect.stringMatching(/Noncurrent/) });
    store.lock = new Date('2030-01-02T03:04:05Z');
    const { detail, fix } = (await check(store)).get('versions')!;
    expect(detail).toContain('Object Lock holds each until its retention ends (one written now: 2030-01-02)');
    expect(fix).toContain('after their retention');
  });
});
