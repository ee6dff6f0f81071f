import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { applyDelta, difference, missingContents } from './diff';
import { scan } from './scan';
import { formatEntries, parseEntries, Snapshot, type Entry } from './snapshot';

const hash = (digit: string) => digit.repeat(64);
const file = (path: string, sha256 = hash('a')): Entry => ({ kind: 'file', path, executable: false, size: 1, sha256 });

/** Resolves a path as a kernel does, name by name. */
function follow(path: string, links: ReadonlyMap<string, string>): string {
  const at: string[] = [];
  const left = path.split('/');
  for (let steps = 0; left.length && steps < 100; steps++) {
    const name = left.shift()!;
    if (name === '' || name === '.') continue;
    if (name === '..') {
      if (!at.length) return 'outside';
      at.pop();
      continue;
    }
    const target = links.get([...at, name].join('/'));
    if (target === undefined) at.push(name);
    else if (target.startsWith('/')) return 'outside';
    else left.unshift(...target.split('/'));
  }
  return at.join('/');
}

describe('Snapshot', () => {
  it('has the same id in any order of its entries', () => {
    const entries = [file('a'), file('b/c'), file('é')];
    expect(Snapshot.of(entries).id).toBe(Snapshot.of([...entries].reverse()).id);
  });

  it('is read back from its canonical form, with any names', () => {
    const name = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
      .filter((text) => !/[/\0]/.test(text) && text.isWellFormed() && text !== '.' && text !== '..');
    fc.assert(
      fc.property(fc.uniqueArray(name, { selector: (text) => text.normalize('NFC').toLowerCase() }), (names) => {
        const snapshot = Snapshot.of(
          names.map((each, index) => (index % 3 ? file(each) : { kind: 'link', path: each, target: 'x' })),
        );
        expect(Snapshot.parse(snapshot.canonical).id).toBe(snapshot.id);
      }),
    );
  });

  it.each(['', '/a', 'a/', 'a//b', './a', '../a', 'a/../b', 'a\0b', 'x'.repeat(256)])('refuses the path %j', (path) => {
    expect(() => Snapshot.of([file(path)])).toThrow(/path/);
  });

  it.each([
    ['A', 'a'],
    ['\u00e9', 'e\u0301'],
    ['Dir/a', 'dir/b'],
  ])('refuses %j beside %j, one name on some file systems', (a, b) => {
    expect(() => Snapshot.of([file(a), file(b)])).toThrow(/one name/);
  });

  it.each(['/etc/passwd', '../x', 'a/../../x'])('refuses a link to %s', (target) => {
    expect(() => Snapshot.of([{ kind: 'link', path: 'l', target }])).toThrow(/link/);
  });

  it.each(['b/..', 'b/../c', '../b/../c', './b/./..'])(
    'refuses a link to %s, since ".." after a name may lead elsewhere',
    (target) => {
      expect(() => Snapshot.of([{ kind: 'link', path: 'a/l', target }])).toThrow(/".." after a name/);
    },
  );

  it.each(['../shared/common', '..b', '..', '.', '../..', 'b//c/', './b'])(
    'accepts a link to %s from a/d/l',
    (target) => {
      expect(Snapshot.of([{ kind: 'link', path: 'a/d/l', target }]).size).toBe(1);
    },
  );

  it('refuses a link that leads through another link, and accepts one to another link', () => {
    const link = (path: string, target: string): Entry => ({ kind: 'link', path, target });
    expect(() => Snapshot.of([link('a', 'd/e'), link('b', 'a/x'), file('d/e/x')])).toThrow(
      /b -> a\/x leads through .* a\.$/m,
    );
    expect(() => Snapshot.of([link('p/a', '..'), link('b', 'p/a/x')])).toThrow(/through the symbolic link p\/a/);
    expect(() => Snapshot.of([link('a', 'a/x')])).toThrow(/through the symbolic link a/);
    expect(Snapshot.of([link('a', 'd/e'), link('b', 'a'), file('d/e/x')]).size).toBe(3);
  });

  it('refuses any links that lead out of it together', () => {
    const name = fc.constantFrom('a', 'b', 'c');
    const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
    const target = fc
      .array(fc.constantFrom('a', 'b', 'c', '..', '.', ''), { minLength: 1, maxLength: 5 })
      .map((parts) => parts.join('/'));
    let taken = 0;
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(path, target), { selector: ([at]) => at, maxLength: 6 }), (links) => {
        try {
          Snapshot.of(links.map(([at, to]) => ({ kind: 'link', path: at, target: to })));
        } catch {
          return;
        }
        taken++;
        const known = new Map(links);
        for (const [at] of links) expect(follow(at, known)).not.toBe('outside');
      }),
      { numRuns: 3000 },
    );
    expect(taken).toBeGreaterThan(100);
  });
});

describe('difference', () => {
  it('turns one snapshot into the other, whatever their entries are', () => {
    const entry = fc.oneof(
      fc.record({
        kind: fc.constant('file' as const),
        executable: fc.boolean(),
        size: fc.nat(9),
        sha256: fc.constantFrom(hash('a'), hash('b')),
      }),
      fc.record({ kind: fc.constant('link' as const), target: fc.constantFrom('x', 'y') }),
      fc.record({ kind: fc.constant('directory' as const) }),
    );
    const snapshots = fc
      .dictionary(fc.constantFrom('a', 'b/c', 'b/d', 'é', '\u{1f680}', '\uffee', 'new\nline'), entry)
      .map((all) => Snapshot.of(Object.entries(all).map(([path, each]) => ({ ...each, path }) as Entry)));
    fc.assert(
      fc.property(snapshots, snapshots, (base, wanted) => {
        const { deleted: gone, changed } = difference(base, wanted);
        // As it travels: in records.
        expect(applyDelta(base, { deleted: gone, changed: parseEntries(formatEntries(changed)) }).id).toBe(wanted.id);
        if (base.id === wanted.id) expect([gone, changed]).toEqual([[], []]);
      }),
    );
  });
});

describe('missingContents', () => {
  it('names each new content once', () => {
    const base = Snapshot.of([file('a', hash('a'))]);
    const wanted = Snapshot.of([file('renamed', hash('a')), file('b', hash('b')), file('c', hash('b'))]);
    expect(missingContents(base, wanted).map(({ path }) => path)).toEqual(['b']);
  });
});

describe('scan', () => {
  const root = mkdtempSync(join(tmpdir(), 'nx-ec2-scan-'));
  afterAll(() => rmSync(root, { recursive: true }));
  const write = (path: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), path);
  };

  it('keeps executable bits, links and empty directories, and names files that disappeared meanwhile', async () => {
    write('run.sh');
    chmodSync(join(root, 'run.sh'), 0o755);
    symlinkSync('run.sh', join(root, 'link'));
    const { snapshot, disappeared: disappeared } = await scan({
      workspaceRoot: root,
      paths: ['gone', 'link', 'run.sh'],
      emptyDirectories: ['empty'],
    });
    expect(disappeared).toEqual(['gone']);
    expect(snapshot.entries).toMatchObject([
      { kind: 'directory', path: 'empty' },
      { kind: 'link', target: 'run.sh' },
      { kind: 'file', executable: true, size: 6 },
    ]);
  });

  it('refuses a link that leaves the workspace, and a path through a link', async () => {
    symlinkSync('/etc/passwd', join(root, 'out'));
    symlinkSync(tmpdir(), join(root, 'away'));
    await expect(scan({ workspaceRoot: root, paths: ['out'] })).rejects.toThrow(/is absolute/);
    await expect(scan({ workspaceRoot: root, paths: ['away/x'] })).rejects.toThrow(/outside the workspace/);
  });
});
