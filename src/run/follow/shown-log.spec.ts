import { execFileSync } from 'node:child_process';
import { hash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { StoreFixture } from '../../store/store.fixture';
import { LogCheck } from '../record/log-check';
import type { RunRecord } from '../record/record';
import { recordOf, RUN } from '../record/saved-run.fixture';
import { ShownLog } from './shown-log';
import { SEGMENT_BYTES, StoredLog } from '../record/stored-log';

type Hashes = RunRecord['log']['hashes'];

const SAY = `
import hashlib, json, sys
sys.path[:0] = [sys.argv[1]]
from nx_ec2_runtime.report import log_upload as segments
it = segments.LogHashes()
for n in range(int(sys.argv[2])):
    it.add(b"%d" % n)
print(json.dumps(it.data(hashlib.sha256(b"rest").hexdigest())))
`;

/** As the instance says it, of segments `0`, `1`, … and one, `rest`, that is not whole. */
function saidByInstance(whole: number): Hashes {
  const home = mkdtempSync(join(tmpdir(), 'nx-ec2-hashes-'));
  try {
    symlinkSync(join(__dirname, '../..', 'runtime'), join(home, 'nx_ec2_runtime'));
    return JSON.parse(execFileSync('python3', ['-B', '-c', SAY, home, String(whole)], { encoding: 'utf8' })) as Hashes;
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

describe('the hashes of a log', () => {
  it.each([0, 1, 512, 513, 1500])('are read as the instance writes them, of %d whole segments', (whole) => {
    const hashes = saidByInstance(whole)!;
    expect(hashes.segments.length).toBeLessThanOrEqual(513);
    const log = { size: whole * SEGMENT_BYTES + 4, training: 0, truncated: false, hashes };
    const name = (n: number) => hash('sha256', n === whole ? 'rest' : `${n}`, 'hex');
    const verdicts = (from: number, changed: number) => {
      const check = new LogCheck({ log });
      const found: boolean[] = [];
      for (let n = check.begin(from); n <= whole; n++)
        found.push(check.takes(n, n === changed ? 'ab'.repeat(32) : name(n)));
      return found;
    };
    for (const from of new Set([0, hashes.folded, whole])) {
      expect(verdicts(from, -1)).not.toContain(false);
      expect(verdicts(from, whole)).toContain(false);
    }
    expect(verdicts(0, 0)).toContain(false);
    expect(new LogCheck({ log }).takes(whole + 1, name(whole))).toBe(false);
  });
});

describe('a log that was shown', () => {
  const size = 2 * SEGMENT_BYTES + 1000;
  const log = randomBytes(size);
  const segments = [0, 1, 2].map((n) =>
    hash('sha256', log.subarray(n * SEGMENT_BYTES, (n + 1) * SEGMENT_BYTES), 'hex'),
  );
  const record = {
    log: { size, training: 0, truncated: false, hashes: { folded: 0, chain: '0'.repeat(64), segments } },
  };
  const show = (bytes: Buffer, from: number, steps: number[]) => {
    const shown = new ShownLog(from);
    for (let at = from, n = 0; at < size; n++) {
      const piece = bytes.subarray(at, at + (steps[n % steps.length] ?? size));
      shown.add(at, piece);
      at += piece.length;
    }
    return shown.changed(record);
  };

  it('is checked against the record by segments, in whatever pieces it came, and a segment that differs is named', () => {
    const steps = fc.array(fc.integer({ min: 1000, max: 2 * SEGMENT_BYTES }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(steps, fc.nat(size - 1), fc.integer({ min: 1, max: 255 }), (each, where, flip) => {
        expect(show(log, 0, each)).toBeNull();
        const changed = Buffer.from(log);
        changed[where] ^= flip;
        expect(show(changed, 0, each)).toBe(Math.floor(where / SEGMENT_BYTES));
      }),
      { numRuns: 30 },
    );
  });

  it('is compared from the first whole segment on, and again if the log went back to an earlier offset', () => {
    const changed = Buffer.from(log);
    changed[10] ^= 1;
    expect(show(changed, SEGMENT_BYTES - 5, [size])).toBeNull();
    changed[2 * SEGMENT_BYTES] ^= 1;
    expect(show(changed, SEGMENT_BYTES - 5, [size])).toBe(2);
    const shown = new ShownLog(0);
    shown.add(0, randomBytes(SEGMENT_BYTES + 50));
    shown.add(SEGMENT_BYTES, log.subarray(SEGMENT_BYTES));
    expect(shown.changed(record)).toBeNull();
  });
});

describe('a log in the store', () => {
  let at: StoreFixture;
  beforeAll(async () => void (at = await StoreFixture.start()));
  afterAll(() => at.close());

  it('is returned from any offset only if it is what the record says', async () => {
    const log = randomBytes(SEGMENT_BYTES + 500);
    const keys = at.keys();
    const put = (n: number, bytes: Buffer) => at.store.put(`${keys.run(RUN)}log/${n}`, bytes);
    await put(0, log.subarray(0, SEGMENT_BYTES));
    // It has grown since the record was written.
    await put(1, Buffer.concat([log.subarray(SEGMENT_BYTES), Buffer.from('more')]));
    const segments = [log.subarray(0, SEGMENT_BYTES), log.subarray(SEGMENT_BYTES)].map((each) =>
      hash('sha256', each, 'hex'),
    );
    const hashes = { folded: 0, chain: '0'.repeat(64), segments };
    const record = recordOf({ log: { size: log.length, training: 0, truncated: false, hashes } });
    const read = async (from: number, of = record) => {
      const pieces: Buffer[] = [];
      for await (const piece of new StoredLog(at.store, keys, { id: RUN }).verified(of, from)) pieces.push(piece);
      return Buffer.concat(pieces);
    };
    for (const from of [0, 1, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 499, log.length])
      expect((await read(from)).equals(log.subarray(from))).toBe(true);
    const none = { ...record, log: { ...record.log, hashes: null } };
    await expect(read(0, none)).rejects.toMatchObject({ code: 'LOG_CHANGED' });
    await put(1, Buffer.from('short'));
    await expect(read(0)).rejects.toMatchObject({ code: 'LOG_MISSING' });
    await put(1, Buffer.alloc(500));
    await expect(read(0)).rejects.toMatchObject({ code: 'LOG_CHANGED', message: expect.stringContaining('log/1') });
    await put(0, Buffer.alloc(SEGMENT_BYTES));
    await expect(read(0)).rejects.toMatchObject({ code: 'LOG_CHANGED', message: expect.stringContaining('log/0') });
  });
});
