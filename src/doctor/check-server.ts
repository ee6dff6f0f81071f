import { createHash, randomBytes } from 'node:crypto';
import { Problem } from '../report/problem';
import { awsStatus } from '../aws/reason';
import type { Store } from '../store/store';
import type { PresignedPost } from '../store/objects/types';

/** One thing that nx-ec2 needs of an S3 server: docs/explanation/reliability.md, "What nx-ec2 needs of an S3 server". */
export interface ServerCheck {
  name: string;
  /** null: nx-ec2 works without it, with less. */
  ok: boolean | null;
  detail: string;
  /** What follows where it is missing, and what to do. */
  fix: string | null;
}

export interface ServerNeeds {
  /** Instances are launched, which takes conditional writes. */
  launches: boolean;
  /** Sends a form with these fields. @returns the HTTP status of the answer. */
  postForm: (post: PresignedPost, fields: Record<string, string>, body: Buffer) => Promise<number>;
}

/** Keys that are raced for, and the clients that race for each. */
const RACE_KEYS = 4;
const RACE_WRITERS = 8;

const OTHER_SERVER = 'Use an S3 server that supports it';

/**
 * Tests what nx-ec2 relies on, with objects below a prefix. Never throws for what the server lacks.
 * @param prefix ends in a slash.
 * @returns the checks, and the keys that the caller is to delete.
 */
export async function checkServer(
  store: Store,
  prefix: string,
  needs: ServerNeeds,
): Promise<{ checks: ServerCheck[]; keys: string[] }> {
  const written = new Set<string>();
  const key = (name: string) => {
    written.add(prefix + name);
    return prefix + name;
  };
  const checks = await Promise.all([
    guarded('conditional writes', () => checkConditions(store, key, needs.launches)),
    guarded('read after write', () => checkReads(store, key)),
    guarded('list after write', () => checkLists(store, key, prefix)),
    guarded('checksums', () => checkChecksums(store, key)),
    guarded('ranges', () => checkRanges(store, key)),
    guarded('presigned forms', () => checkForms(store, key, prefix, needs.postForm)),
    guarded('versions', () => checkVersions(store, key)),
  ]);
  return { checks: checks.filter((check) => check !== null), keys: [...written] };
}

type Keys = (name: string) => string;
type Answer = Omit<ServerCheck, 'name'>;

async function guarded(name: string, check: () => Promise<Answer | null>): Promise<ServerCheck | null> {
  try {
    const answer = await check();
    return answer && { name, ...answer };
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    const { what, aws, next } = error;
    return { name, ok: false, detail: aws ? `${what} ${aws.code}: ${aws.message}` : what, fix: next ?? null };
  }
}

const good = (detail: string): Answer => ({ ok: true, detail, fix: null });
const bad = (detail: string, fix: string): Answer => ({ ok: false, detail, fix });

async function checkConditions(store: Store, key: Keys, launches: boolean): Promise<Answer> {
  const consequence =
    'Two clients could launch two instances for one, and two instances could write the record of one run.';
  const keys = Array.from({ length: RACE_KEYS }, (_, race) => key(`race-${race}`));
  let etags: (string | null)[];
  try {
    etags = [];
    for (const what of ['If-None-Match: *', 'If-Match'] as const) {
      const before = etags;
      const won = await Promise.all(keys.map((each, race) => raceFor(store, each, before[race] ?? null)));
      const most = Math.max(...won.map(({ length }) => length));
      if (most > 1)
        return bad(
          `of ${RACE_WRITERS} parallel writes with ${what}, ${most} succeeded: they are not atomic`,
          `${consequence} ${OTHER_SERVER}: of several at once, one may succeed.`,
        );
      if (won.every(({ length }) => length === 0))
        return bad(`none of ${RACE_WRITERS} parallel writes with ${what} succeeded`, `${OTHER_SERVER}.`);
      etags = won.map(([etag]) => etag ?? null);
    }
  } catch (error) {
    if (!isNotImplemented(error)) throw error;
    return {
      ok: launches ? false : null,
      detail: 'the server does not implement them (HTTP 501)',
      fix: `Files are sent as an archive, and a run needs an attached client (remote-train). Instances can't be launched, nor the store pruned${launches ? ': set "instance" to one that exists, or use a server that has them' : ''}.`,
    };
  }
  // Whoever lost would be told so now too, and whoever overwrites what it has not seen.
  const [first] = keys;
  if ((await store.compareAndSwap(first, randomBytes(16), null)) !== null)
    return bad('a write with If-None-Match: * replaced an object', `${consequence} ${OTHER_SERVER}.`);
  const stale = await store.etag(first);
  if (stale) await store.put(first, randomBytes(16));
  if (stale && (await store.compareAndSwap(first, randomBytes(16), stale)) !== null)
    return bad('a write with the If-Match of an earlier version succeeded', `${consequence} ${OTHER_SERVER}.`);
  return good(`atomic, in ${2 * RACE_KEYS} races of ${RACE_WRITERS} writers`);
}

/** The ETags of those that won. */
async function raceFor(store: Store, key: string, etag: string | null): Promise<string[]> {
  const results = await Promise.all(
    Array.from({ length: RACE_WRITERS }, () => store.compareAndSwap(key, randomBytes(16), etag)),
  );
  return results.filter((each) => each !== null);
}

async function checkReads(store: Store, key: Keys): Promise<Answer> {
  const name = key('read');
  for (let round = 0; round < RACE_KEYS; round++) {
    const body = randomBytes(16);
    await store.put(name, body);
    const back = await store.getWithETag(name, body.length, { strict: true });
    if (!back?.bytes.equals(body))
      return bad(
        back
          ? 'a read returned an earlier version of an object'
          : 'a read did not find an object that was just written',
        `A client could follow an earlier attempt of a run, or sync against an outdated state. ${OTHER_SERVER}.`,
      );
  }
  return good('a read returns what was written last');
}

async function checkLists(store: Store, key: Keys, prefix: string): Promise<Answer> {
  const names = Array.from({ length: RACE_KEYS }, (_, each) => key(`list/${each}`));
  await Promise.all(names.map((name) => store.put(name, Buffer.from('listed'))));
  const listed = (await store.list(`${prefix}list/`, 1000)).map((each) => each.key);
  if (listed.join('\n') === [...names].sort().join('\n')) return good('a list names what was written last, sorted');
  return bad(
    `a list named ${listed.length} of ${names.length} objects that were just written`,
    `"prune" could delete what a sync has just written. ${OTHER_SERVER}.`,
  );
}

async function checkChecksums(store: Store, key: Keys): Promise<Answer> {
  const body = randomBytes(16);
  const sha256 = createHash('sha256').update(body).digest();
  const name = key('checksum');
  try {
    await store.put(name, body, { checksum: sha256.toString('base64') });
  } catch (error) {
    if (!isNotImplemented(error)) throw error;
    return {
      ok: null,
      detail: 'the server does not implement SHA-256 checksums (HTTP 501)',
      fix: 'Files are sent as an archive, and a run needs an attached client (remote-train).',
    };
  }
  if (!(await store.hasChecksum(name, sha256.toString('hex'), body.length)))
    return {
      ok: null,
      detail: 'the server does not keep the SHA-256 of an object',
      fix: 'Objects that the store already has are uploaded again.',
    };
  const wrong = createHash('sha256').update('other').digest('base64');
  const taken = await store.put(key('checksum-wrong'), body, { checksum: wrong }).then(
    () => true,
    (error: Problem) => {
      if (awsStatus(error.cause) === 400) return false;
      throw error;
    },
  );
  if (!taken) return good('a write whose SHA-256 is wrong is refused');
  return {
    ok: null,
    detail: 'the server accepted a write whose SHA-256 is wrong',
    fix: 'Damage on the way is found when the object is read, not when it is written.',
  };
}

async function checkRanges(store: Store, key: Keys): Promise<Answer> {
  const body = Buffer.from('0123456789');
  const name = key('range');
  await store.put(name, body);
  const [middle, end, beyond] = await Promise.all([
    store.getFrom(name, 2, 5).catch(unlessRefused),
    store.getSuffix(name, 3).catch(unlessRefused),
    store.getFrom(name, 10, 20).catch(unlessRefused),
  ]);
  if (String(middle) === '234' && String(end) === '789' && beyond?.length === 0)
    return good('a part of an object can be read');
  return bad(
    'a read of a part of an object returned something else',
    `Logs and large artifacts are read in parts. ${OTHER_SERVER} (the header Range).`,
  );
}

async function checkForms(store: Store, key: Keys, prefix: string, postForm: ServerNeeds['postForm']): Promise<Answer> {
  const body = randomBytes(16);
  const sha256 = (of: Buffer) => createHash('sha256').update(of).digest('base64');
  const below = `${prefix}form/`;
  const post = await store.presignPost(below);
  const send = (name: string, checksum: string) =>
    postForm(
      post,
      { ...post.fields, key: name, 'x-amz-checksum-sha256': checksum, 'Content-Type': 'text/plain' },
      body,
    );
  const inside = key('form/a');
  const status = await send(inside, sha256(body));
  const back = await store.get(inside, body.length);
  if (!isGood(status) || !back?.equals(body))
    return {
      ok: null,
      detail: isGood(status)
        ? 'an upload by a form was not found'
        : `the server refused an upload by a form (HTTP ${status})`,
      fix: 'Without a role, an instance could not save its run. Give it a role, and set "storeAccess" to "role".',
    };
  const outside = key('elsewhere');
  if (isGood(await send(outside, sha256(body))))
    return bad(
      'a form that is signed for one prefix wrote to another',
      `Whoever has the form of one run could write to all of the store. ${OTHER_SERVER}, or set "storeAccess" to "role".`,
    );
  if (isGood(await send(key('form/wrong'), sha256(Buffer.from('other')))))
    return {
      ok: null,
      detail: 'a form whose SHA-256 is wrong was accepted',
      fix: 'Damage on the way is found when the object is read, not when it is written.',
    };
  return good('a form writes below its prefix alone');
}

/** Says nothing of a bucket that keeps no versions. */
async function checkVersions(store: Store, key: Keys): Promise<Answer | null> {
  const name = key('version');
  await store.put(name, Buffer.from('version'));
  const { version, lockedUntil } = (await store.version(name)) ?? {};
  if (!version) return null;
  return {
    ok: null,
    detail: lockedUntil
      ? `the bucket keeps versions, and Object Lock holds each until its retention ends (one written now: ${lockedUntil.toISOString().slice(0, 10)})`
      : 'the bucket keeps versions',
    fix: `Objects that "prune" deletes stay as older versions, which cost money${lockedUntil ? ' and can be deleted after their retention' : ''}. To delete them, add a lifecycle rule with NoncurrentVersionExpiration.`,
  };
}

function isGood(status: number): boolean {
  return status >= 200 && status < 300;
}

function isNotImplemented(error: unknown): boolean {
  return error instanceof Problem && awsStatus(error.cause) === 501;
}

/** A server that refuses the request, or sends more than was asked for, has no ranges. */
function unlessRefused(error: unknown): null {
  const { code, cause } = error as Problem;
  if (code === 'STORE_TOO_LARGE' || (awsStatus(cause) ?? 500) < 500) return null;
  throw error;
}
