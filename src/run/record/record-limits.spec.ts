import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { MAX_RECORD_BYTES, parseRecord } from './record';
import { recordOf } from './saved-run.fixture';

const BOUND = `
import json, sys
from nx_ec2_runtime.report.record_limits import within_limits
print(json.dumps([within_limits(each) for each in json.load(sys.stdin)]))
`;

describe('the record that an instance writes', () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'nx-ec2-limits-'));
    symlinkSync(join(__dirname, '../../runtime'), join(directory, 'nx_ec2_runtime'));
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  /** The records as the instance writes them. */
  const bounded = (records: unknown[]) => {
    const { stdout, stderr, status } = spawnSync('python3', ['-B', '-c', BOUND], {
      input: JSON.stringify(records),
      encoding: 'utf8',
      env: { PATH: process.env.PATH, PYTHONPATH: directory },
      maxBuffer: 1 << 28,
    });
    if (status !== 0) throw new Error(stderr);
    return JSON.parse(stdout) as unknown[];
  };
  const read = (record: unknown) => {
    const bytes = Buffer.from(JSON.stringify(record));
    expect(bytes.length).toBeLessThan(MAX_RECORD_BYTES);
    return parseRecord(bytes, recordOf().id, 'record.json');
  };

  it('is one that clients can read, however long what the training supplies is', () => {
    const long = fc
      .tuple(fc.constantFrom('x', 'é', '😀', '"', '\n'), fc.integer({ min: 0, max: 9000 }))
      .map(([unit, n]) => unit.repeat(n));
    const list = fc
      .tuple(long, fc.integer({ min: 0, max: 1200 }))
      .map(([text, n]) => Array<string>(Math.min(n, Math.floor(400_000 / (text.length + 1)))).fill(text));
    const record = fc.record({
      trouble: long,
      why: long,
      unit: long,
      warnings: list,
      told: list,
      metrics: fc.array(long, { maxLength: 8 }),
      code: long,
    });
    const sample = fc.sample(record, 40).map(({ trouble, why, unit, warnings, told, metrics, code }) => {
      const plain = recordOf();
      return {
        ...plain,
        trouble,
        warnings,
        attempts: Array.from({ length: 3 }, (_, n) => ({
          n,
          instance: plain.instance,
          startedAt: 1,
          endedAt: 2,
          exitCode: 1,
          signal: null,
          why,
        })),
        checkpoints: Array.from({ length: 1_100 }, (_, n) => ({
          n: n + 1,
          unit: n ? 'step' : unit,
          sha256: 'a'.repeat(64),
          size: 1,
          files: 1,
          at: 1,
          attempt: 1,
        })),
        metrics: {
          ...plain.metrics,
          training: Object.fromEntries(metrics.map((name, n) => [name, n])),
          warnings: told,
        },
        artifacts: { state: 'failed', error: { code, message: trouble.repeat(3), detail: {} } },
      };
    });
    for (const each of bounded(sample)) read(each);
  });

  it('keeps the first of 500 metrics whose names are too long together, and says so', () => {
    const plain = recordOf();
    const training = Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`${'😀'.repeat(195)}${n}`, n]));
    const [record] = bounded([{ ...plain, metrics: { ...plain.metrics, training } }]);
    const { metrics } = read(record);
    expect(Object.keys(metrics.training).length).toBeGreaterThan(300);
    expect(metrics.warnings.at(-1)).toMatch(/^\d+ of 500 metrics are not in the record: their names are too long$/);
  });

  it('is left as it is where it is within the limits', () => {
    const plain = { ...recordOf(), trouble: 'x'.repeat(4096) };
    expect(bounded([plain])).toEqual([JSON.parse(JSON.stringify(plain))]);
  });
});
