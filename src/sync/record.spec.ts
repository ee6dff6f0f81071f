import { deflateSync } from 'node:zlib';
import { Snapshot } from '../snapshot/snapshot';
import { foldRecords, wholeRecord } from './record';

describe('foldRecords', () => {
  const where = { packs: [], recipes: {}, data: {} };
  afterEach(() => jest.restoreAllMocks());

  it('reads a whole record', () => {
    const snapshot = Snapshot.parse(Buffer.from('nx-ec2 snapshot 1\0d a\0'));
    expect(foldRecords([{ id: snapshot.id, bytes: wholeRecord(snapshot, where) }]).snapshot.id).toBe(snapshot.id);
  });

  it('parses no manifest that is not the one of its id: a small object can hold millions of entries', () => {
    const manifest = `nx-ec2 snapshot 1\0${'d a\0'.repeat(1_000_000)}`;
    const record = { v: 1, snapshot: 'a'.repeat(64), base: null, manifest, packs: [], recipes: {}, data: {} };
    const bytes = deflateSync(JSON.stringify(record));
    expect(bytes.length).toBeLessThan(100_000);
    const parse = jest.spyOn(Snapshot, 'parse');
    expect(() => foldRecords([{ id: 'a'.repeat(64), bytes }])).toThrow('not of its snapshot');
    expect(parse).not.toHaveBeenCalled();
  });
});
