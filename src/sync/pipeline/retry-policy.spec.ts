import { RemoteFailure } from '../../command/remote-failure';
import { Problem } from '../../report/problem';
import { FileMoved } from '../../snapshot/file-moved';
import type { Head } from '../manifest/head';
import { applyRetry, MAX_COMMANDS, retryActionFor, type Attempt, type RetryAction } from './retry-policy';
import { SyncNotNeeded, type SyncProgress } from './types';
import type { SyncContext } from '../context';

const base = { snapshot: 'a'.repeat(64) } as Head;
const offered = [{ sha256: 'b'.repeat(64), size: 1 }];
const transport = { deliver: () => Promise.reject(new Error('not called')) };
const cold: Attempt = {
  transport,
  base: null,
  isWarm: false,
  diagnosed: false,
  pending: ['i-1'],
  commands: 1,
  offered: [],
  overlapped: false,
};
const warm: Attempt = { ...cold, base, isWarm: true };

function remote(code: string, detail: Record<string, unknown> = {}): RemoteFailure {
  return new RemoteFailure(code, 'It failed.', detail);
}

function offline(message: string): Problem {
  return new Problem('INSTANCE_OFFLINE', 'It is offline.', { aws: { code: 'InvalidInstanceId', message } });
}

const notImplemented = new Problem('STORE_PUT', 'It failed.', {
  cause: Object.assign(new Error('501'), { $metadata: { httpStatusCode: 501 } }),
});

describe('what changes before a failed sync is tried again', () => {
  it.each<[string, Error, Attempt, RetryAction | null]>([
    ['everything is named where the tree is not what was thought', remote('CONTENT_MISSING'), warm, 'everything'],
    ['everything is named where the history was rewritten', remote('SNAPSHOT_MISMATCH'), warm, 'everything'],
    [
      'everything is named if a manifest of the base is missing',
      remote('FETCH_FAILED', { what: 'manifest', status: 404 }),
      warm,
      'everything',
    ],
    [
      'a plan that is gone is not helped by naming everything',
      remote('FETCH_FAILED', { what: 'plan', status: 404 }),
      warm,
      null,
    ],
    [
      'everything is uploaded before the next command if packs came too late',
      remote('CONTENT_MISSING'),
      { ...warm, offered, overlapped: true },
      'upload',
    ],
    [
      'a pack that is damaged was not too late',
      remote('PACK_MISMATCH'),
      { ...cold, offered, overlapped: true },
      'packs',
    ],
    ['packs that lack content are sent again', remote('CONTENT_MISSING'), { ...cold, offered }, 'packs'],
    [
      'a pack that is gone is sent again',
      remote('FETCH_FAILED', { what: 'pack', status: 404 }),
      { ...cold, offered },
      'packs',
    ],
    [
      'a server that fails is not helped by other packs',
      remote('FETCH_FAILED', { what: 'pack', status: 500 }),
      { ...cold, offered },
      null,
    ],
    ['the workspace is scanned again where a file moved', new FileMoved('a'), cold, 'scan'],
    ['the workspace is scanned again where content has another hash', remote('HASH_MISMATCH'), cold, 'scan'],
    ['a full disk is not tried again', remote('NO_SPACE'), warm, null],
    ['the last command is not repeated', remote('CONTENT_MISSING'), { ...warm, commands: MAX_COMMANDS }, null],
    [
      'the archive is used where the bucket lacks a feature',
      notImplemented,
      { ...cold, transport: { ...transport, fallback: transport } },
      'fallback',
    ],
    ['a bucket that lacks a feature fails the sync where there is no other transport', notImplemented, cold, null],
    [
      'an instance that is offline is left out',
      offline('i-2 is not valid'),
      { ...cold, pending: ['i-1', 'i-2'] },
      'skip',
    ],
    ['the only instance is not left out', offline('i-1 is not valid'), cold, null],
    ['no instance is left out where all are offline', offline('i-1, i-2'), { ...cold, pending: ['i-1', 'i-2'] }, null],
    ['the preflight explains what failed without one', new Error('no route'), warm, 'preflight'],
    ['the preflight runs once', new Error('no route'), { ...warm, diagnosed: true }, null],
    ['a cold sync had its preflight', new Error('no route'), cold, null],
    ['a sync that is not needed is over', new SyncNotNeeded(), warm, null],
  ])('%s', (_, error, attempt, action) => {
    expect(retryActionFor(error, attempt, false)).toBe(action);
  });

  it.each([
    ['a tree that is not what was thought', remote('CONTENT_MISSING')],
    ['an error without an explanation', new Error('no route')],
  ])('an aborted sync ends with %s', (_, error) => {
    expect(retryActionFor(error, warm, true)).toBeNull();
  });
});

describe('a retry', () => {
  const scanned = { snapshot: 'first' } as unknown as SyncProgress['scanned'];
  const scannedAgain = { snapshot: 'second' } as unknown as SyncProgress['scanned'];
  const retried = async (action: RetryAction, error: Error, change: Partial<SyncProgress> = {}) => {
    const progress = { ...warm, offered, scanned, failures: new Map(), leftovers: [], ...change } as SyncProgress;
    const forgotten: string[] = [];
    const context = {
      printer: { detail: () => undefined, line: () => undefined, warn: () => undefined },
      store: { hasChecksum: async () => false },
      keys: { pack: (sha256: string) => sha256 },
      index: { forget: (packs: Set<string>) => forgotten.push(...packs) },
    } as unknown as SyncContext;
    const preflight = jest.fn(async () => undefined);
    await applyRetry(context, progress, { scan: async () => scannedAgain, preflight }, action, error);
    return { ...progress, forgotten, preflight };
  };

  it('that sends the full manifest keeps the scan and relies on no base', async () => {
    expect(await retried('everything', remote('CONTENT_MISSING'))).toMatchObject({ base: null, scanned });
  });

  it('that sends packs again forgets those that are gone and sends the full manifest', async () => {
    const { sha256 } = offered[0];
    expect(await retried('packs', remote('PACK_MISMATCH'))).toMatchObject({ base: null, scanned, forgotten: [sha256] });
  });

  it('after an upload that took too long keeps base and packs', async () => {
    const done = await retried('upload', remote('CONTENT_MISSING'));
    expect(done).toMatchObject({ base, scanned, uploadFirst: true, forgotten: [] });
  });

  it('that scans again keeps the base', async () => {
    expect(await retried('scan', new FileMoved('a'))).toMatchObject({ base, scanned: scannedAgain, forgotten: [] });
  });

  it('by the other transport keeps the rest', async () => {
    const fallback = { deliver: transport.deliver };
    const done = await retried('fallback', notImplemented, { transport: { ...transport, fallback } });
    expect(done.transport).toBe(fallback);
    expect(done).toMatchObject({ base, scanned });
  });

  it('without the instances that are offline remembers why', async () => {
    const error = offline('i-2 is not valid');
    const { pending, failures } = await retried('skip', error, { pending: ['i-1', 'i-2'] });
    expect(pending).toEqual(['i-1']);
    expect([...failures]).toEqual([['i-2', error]]);
  });

  it('after a preflight remembers that there was one', async () => {
    const { diagnosed, preflight } = await retried('preflight', new Error('no route'));
    expect(diagnosed).toBe(true);
    expect(preflight).toHaveBeenCalledTimes(1);
  });
});
