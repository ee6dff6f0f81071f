import { deflateSync } from 'node:zlib';
import { formatCount } from '../../report/units';
import type { Entry } from '../../snapshot/entry';
import { ChunkList } from '../../snapshot/chunk-list';
import { Snapshot } from '../../snapshot/snapshot';
import { encodeDelta, applyManifests, MAX_CHANGE_BYTES, NewerManifest, manifestNeeds, encodeFull } from './manifest';

describe('applyManifests', () => {
  const where = { packs: [], recipes: {}, inline: {} };
  afterEach(() => jest.restoreAllMocks());

  it('reads a full manifest', () => {
    const snapshot = Snapshot.parse(Buffer.from('nx-ec2 snapshot 1\0d a\0'));
    expect(applyManifests([{ id: snapshot.id, bytes: encodeFull(snapshot, where) }]).snapshot.id).toBe(snapshot.id);
  });

  it('reads version 1, whose recipes are lists of chunks', () => {
    const snapshot = Snapshot.parse(Buffer.from('nx-ec2 snapshot 1\0d a\0'));
    const [content, chunk] = ['c'.repeat(64), 'd'.repeat(64)];
    const { id } = snapshot;
    const first = { v: 1, snapshot: id, base: null, canonical: snapshot.canonical.toString(), packs: [], inline: {} };
    const bytes = deflateSync(JSON.stringify({ ...first, recipes: { [content]: [[chunk, 5]] } }));
    const { recipes } = applyManifests([{ id, bytes }]);
    expect([...ChunkList.decode(recipes[content])]).toEqual([[chunk, 5]]);
  });

  it('parses no manifest that has another hash than its id, since a small object can hold millions of entries', () => {
    const canonical = `nx-ec2 snapshot 1\0${'d a\0'.repeat(1_000_000)}`;
    const manifest = {
      v: 2,
      snapshot: 'a'.repeat(64),
      base: null,
      canonical,
      packs: [],
      recipes: {},
      inline: {},
    };
    const bytes = deflateSync(JSON.stringify(manifest));
    expect(bytes.length).toBeLessThan(100_000);
    const parse = jest.spyOn(Snapshot, 'parse');
    expect(() => applyManifests([{ id: 'a'.repeat(64), bytes }])).toThrow('not that of its snapshot');
    expect(parse).not.toHaveBeenCalled();
  });

  describe('a delta, whose hash is known only after it was applied', () => {
    const base = Snapshot.parse(Buffer.from('nx-ec2 snapshot 1\0d a\0'));
    const id = 'b'.repeat(64);
    /** Inflates to so many bytes more. */
    const change = (bytes: number, start: object = { v: 2, snapshot: id, base: base.id }) =>
      deflateSync(JSON.stringify({ ...start, deleted: [], entries: ' '.repeat(bytes), ...where }));
    const TOO_LARGE = `it holds more than ${formatCount(MAX_CHANGE_BYTES, 'inflated byte')}`;

    it('is inflated only up to its own small limit, both to apply it and to list what it needs', () => {
      const bytes = change(MAX_CHANGE_BYTES);
      expect(bytes.length).toBeLessThan(100_000);
      const whole = { id: base.id, bytes: encodeFull(base, where) };
      expect(() => applyManifests([whole, { id, bytes }])).toThrow(TOO_LARGE);
      expect(() => manifestNeeds(bytes)).toThrow(TOO_LARGE);
      expect(manifestNeeds(change(MAX_CHANGE_BYTES - 1000))).toEqual({ base: base.id, packs: [] });
    });

    it.each([
      ['in another order', { base: base.id, snapshot: id, v: 2 }],
      ['without a base', { v: 2, snapshot: id }],
      ['that is no manifest', []],
    ])('has the same limit if it begins as something %s', (_what, start) => {
      expect(() => manifestNeeds(change(MAX_CHANGE_BYTES, start))).toThrow(TOO_LARGE);
    });

    it('does not count as a full manifest if a later key contradicts the first', () => {
      const text = `{"v":2,"snapshot":"${id}","base":null,"base":"${base.id}","gone":[],"records":"","packs":[]}`;
      expect(() => manifestNeeds(deflateSync(text))).toThrow('it does not match its first bytes');
    });

    it('is reported as of a later version without being inflated further', () => {
      expect(() => manifestNeeds(change(MAX_CHANGE_BYTES, { v: 3, snapshot: id, base: base.id }))).toThrow(
        NewerManifest,
      );
    });

    it('is replaced by the full manifest if that is smaller', () => {
      const entries = (count: number): Entry[] =>
        Array.from({ length: count }, (_, n) => ({
          kind: 'directory',
          path: `${'x'.repeat(200)}/${String(n).padStart(8, '0')}`,
        }));
      const few = Snapshot.of([{ kind: 'directory', path: 'y' }]);
      const changed = entries(80_000);
      const large = Snapshot.of([...few.entries, ...changed]);
      expect(encodeDelta(few, large, where)).toBeNull();
      expect(applyManifests([{ id: large.id, bytes: encodeFull(large, where) }]).snapshot.id).toBe(large.id);
      const small = Snapshot.of([...few.entries, ...changed.slice(0, 10)]);
      expect(manifestNeeds(encodeDelta(few, small, where)!)).toEqual({ base: few.id, packs: [] });
    });
  });
});
