import { deflateSync } from 'node:zlib';
import { MAX_JSON_VALUES } from '../../system/bounded';
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
    const [content, chunk] = ['c'.repeat(64), 'd'.repeat(64)];
    const snapshot = Snapshot.of([{ kind: 'file', path: 'a', executable: false, size: 5, sha256: content }]);
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

  describe('what the manifests of a chain hold together', () => {
    const [old, kept] = ['c'.repeat(64), 'd'.repeat(64)];
    const file = (path: string, sha256: string): Entry => ({ kind: 'file', path, executable: false, size: 5, sha256 });
    const states = [old, kept].map((content) => Snapshot.of([file('a', content)]));
    const chain = (...locations: object[]) =>
      locations.map((more, at) => {
        const { id } = states[at];
        const all = { ...where, ...more };
        return { id, bytes: at === 0 ? encodeFull(states[0], all) : encodeDelta(states[0], states[1], all)! };
      });
    const strangers = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, n) => [n, 'x']));

    it('keeps only what is said of contents of its snapshots, and only names of packs', () => {
      const pack: [string, number] = ['e'.repeat(64), 7];
      const manifests = chain(
        { recipes: { ...strangers(1000), [old]: 'old' }, inline: strangers(1000), packs: [pack, ['a', 1]] },
        { recipes: { [kept]: 'new', [old]: 5 }, inline: { [kept]: 'data', ...strangers(10) }, packs: [[pack[0], -1]] },
      );
      expect(applyManifests(manifests)).toEqual({
        snapshot: expect.objectContaining({ id: states[1].id }) as Snapshot,
        recipes: { [old]: 'old', [kept]: 'new' },
        inline: { [kept]: 'data' },
        packs: [pack],
      });
    });

    it('is not parsed beyond the values that one may have', () => {
      const half = { packs: Array.from({ length: MAX_JSON_VALUES / 4 }, () => [''] as never) };
      const manifests = chain(half, half);
      expect(manifestNeeds(manifests[1].bytes).packs).toHaveLength(half.packs.length);
      expect(() => applyManifests(manifests)).toThrow(`it holds more than ${formatCount(MAX_JSON_VALUES, 'value')}`);
    });

    it('has each manifest once', () => {
      const [first] = chain({});
      expect(() => applyManifests([first, first])).toThrow('a manifest is named twice');
    });

    it('has no manifest of a change that is larger as it is stored than inflated', () => {
      const [, change] = chain({}, {});
      const padded = Buffer.concat([change.bytes, Buffer.alloc(MAX_CHANGE_BYTES + 64 * 1024)]);
      expect(() => manifestNeeds(padded)).toThrow('stored byte');
    });
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
