import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Buckets } from './objects';

describe('buckets', () => {
  it.each(['..', '.', '.uploads', '../s3/bucket', 'bucket/..', 'UPPER', 'a'])('cannot be named %s', (name) => {
    const root = mkdtempSync(join(tmpdir(), 'nx-ec2-buckets-'));
    try {
      const buckets = new Buckets(join(root, 's3'));
      buckets.create('bucket');
      mkdirSync(join(root, 's3', '.uploads'));
      writeFileSync(join(root, 'secret'), '');
      expect([buckets.exists(name), buckets.exists('bucket')]).toEqual([false, true]);
      expect(existsSync(join(root, 'secret'))).toBe(true);
    } finally {
      rmSync(root, { recursive: true });
    }
  });
});
