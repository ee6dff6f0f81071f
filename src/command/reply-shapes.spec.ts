import fc from 'fast-check';
import type { Operation } from './plan';
import { checkReply, checkSynced } from './reply-shapes';

const HERE = 'i-0123456789abcdef0';
const OTHER = 'i-0fedcba9876543210';
const OWN = '20260101-000000-model-abcdef';
const QUEUE = { gpus: 1, tickets: [{ run: OWN, exclusive: false, gpus: 1, priority: -1, granted: true }] };
const FOREIGN = '20260101-000000-model-fedcba';

const run = {
  id: OWN,
  kind: 'training',
  runKey: 'k',
  project: 'model',
  caller: 'arn',
  tree: 't',
  snapshot: 's',
  instance: HERE,
  state: 'running',
  pid: 1,
  supervisor: 2,
  user: 'ubuntu',
  createdAt: 1,
  startedAt: 2,
  endedAt: null,
  exitCode: null,
  signal: null,
  attempt: 1,
  queue: null,
  resources: { exclusive: false, gpus: 0 },
  gpus: [],
  training: null,
  stop: null,
  failure: null,
  outcome: null,
  warnings: [],
  directory: '/r',
};
const log = { offset: 0, length: 0, data: '', size: 0 };
const synced = {
  head: 'h',
  written: 0,
  deleted: 0,
  bytes: 0,
  healed: false,
  reverted: [],
  revertedCount: 0,
  kept: null,
  tree: '/t',
  user: 'ubuntu',
};
const operations = {
  sync: [{ op: 'sync' }, synced],
  train: [
    { op: 'train', run: { id: OWN, runKey: 'k' } },
    { ...synced, run, attached: false, log },
  ],
  watch: [{ op: 'watch' }, { ...synced, watch: { pid: 1 } }],
  poll: [
    { op: 'poll', run: OWN },
    { run, log, report: { saved: false, trouble: null } },
  ],
  cancel: [
    { op: 'cancel', run: OWN },
    { run, already: false },
  ],
  renew: [
    { op: 'renew', run: OWN },
    { run, report: null },
  ],
  exec: [
    { op: 'exec', exec: { id: OWN }, run: null },
    { run: { ...run, kind: 'exec', runKey: '', snapshot: '' }, log },
  ],
  activity: [{ op: 'activity' }, { runs: [OWN], syncing: false, queue: QUEUE }],
  ready: [{ op: 'ready' }, { missing: { tool: 'uv', why: 'w', fix: 'f' }, free: 1 }],
  doctor: [{ op: 'doctor' }, { checks: [{ name: 'Python', ok: true, detail: '3.8', fix: null }] }],
} as const;
type Op = keyof typeof operations;
/** What a run on one node says of nodes. */
const oneNode = {
  node: null,
  nodes: [],
  rendezvous: null,
  nodeCheckpoints: [],
  wholeCheckpoint: null,
  failedNode: null,
};
const check = (op: Op, reply: object = operations[op][1]) =>
  checkReply<Record<string, unknown>>(HERE, operations[op][0] as unknown as Operation, reply);
const invalid = expect.objectContaining({ code: 'REPLY_INVALID', message: expect.stringContaining(HERE) });

describe('a reply of an instance', () => {
  it.each(Object.keys(operations) as Op[])('to %s is accepted with valid values only', (op) => {
    const [, reply] = operations[op];
    const wanted =
      'run' in reply ? { ...reply, run: { ...reply.run, takenOver: null, launcher: null, ...oneNode } } : reply;
    expect(check(op, { ...reply, v: 1, ok: true, more: 1 })).toEqual(wanted);
  });

  it('is refused, with the name of the field, if any value has another type', () => {
    const ops = fc.constantFrom(...(Object.keys(operations) as Op[]));
    fc.assert(
      fc.property(ops, fc.nat(), fc.constantFrom(Symbol('absent'), {}, -1.5), (op, at, value) => {
        const reply = structuredClone(operations[op][1]) as unknown as Record<string, Record<string, unknown>>;
        const names = Object.keys(reply);
        // In the run, where there is one, every other time.
        const of = 'run' in reply && at % 2 ? reply.run : reply;
        const inner = of === reply ? names : Object.keys(reply.run).filter((name) => name !== 'warnings');
        const name = inner[Math.floor(at / 2) % inner.length];
        if (typeof value === 'symbol') delete of[name];
        else of[name] = value as never;
        expect(() => check(op, reply)).toThrow(invalid);
      }),
    );
  });

  it.each(['poll', 'cancel', 'renew', 'exec', 'train'] as const)('to %s must be about the run of the request', (op) => {
    const reply = operations[op][1];
    expect(() => check(op, { ...reply, run: { ...reply.run, id: FOREIGN } })).toThrow(invalid);
    expect(() => check(op, { ...reply, run: { ...reply.run, instance: OTHER } })).toThrow(invalid);
  });

  it('to train may name another run only if it is of the same training', () => {
    const reply = { ...operations.train[1], attached: 'ended', run: { ...run, id: FOREIGN } };
    expect(check('train', reply)).toMatchObject({ attached: 'ended', run: { id: FOREIGN } });
    expect(() => check('train', { ...reply, run: { ...reply.run, runKey: 'other' } })).toThrow(/another training/);
  });

  it.each([
    [{ exitCode: 3 }, 'has succeeded with the exit code 3'],
    [{ exitCode: null }, 'has succeeded with no exit code'],
    [{ signal: 'SIGKILL' }, 'has succeeded and was ended by SIGKILL'],
    [{ stop: { reason: 'cancelled', at: 1 } }, 'has succeeded and was stopped (cancelled)'],
    [{ failure: { code: 'LEFT_RUNNING', message: 'm' } }, 'has succeeded and has failed (LEFT_RUNNING)'],
    [{ outcome: 'failed', exitCode: 256 }, 'has the exit code 256'],
    [{ outcome: 'failed', exitCode: -9 }, 'has the exit code -9'],
  ])('is refused if the run can not have ended so: %j', (values, why) => {
    const ended = { ...run, state: 'ended', outcome: 'succeeded', exitCode: 0 };
    for (const op of ['poll', 'cancel', 'renew', 'exec', 'train'] as const) {
      expect(() => check(op, { ...operations[op][1], run: { ...ended, runKey: 'k' } })).not.toThrow();
      expect(() => check(op, { ...operations[op][1], run: { ...ended, runKey: 'k', ...values } })).toThrow(why);
    }
  });

  it('is refused in an acknowledgement as well', () => {
    expect(checkSynced(HERE, synced)).toEqual(synced);
    expect(() => checkSynced(HERE, { ...synced, reverted: null })).toThrow(invalid);
  });
});
