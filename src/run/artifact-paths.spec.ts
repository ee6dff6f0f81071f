import fc from 'fast-check';
import { refuseUnsafeArtifacts, type Artifact } from './artifact-paths';

const artifact = (path: string, size = 1): Artifact => ({ path, size, sha256: 'a'.repeat(64), executable: false });
const refuse = (paths: string[], tracked: string[] | null = null, maxSize = 100) =>
  refuseUnsafeArtifacts(
    paths.map((path) => artifact(path)),
    'out',
    tracked && new Set(tracked),
    maxSize,
  );

describe('what comes back', () => {
  it('is let in where it is a plain path inside the output directory', () => {
    const component = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
      .filter((name) => !/[/\0]/.test(name) && name !== '.' && name !== '..');
    fc.assert(
      fc.property(fc.array(component, { minLength: 1, maxLength: 6 }), (parts) => {
        expect(() => refuse([`out/${parts.join('/')}`])).not.toThrow();
      }),
    );
  });

  it('is refused wherever a path could lead elsewhere, whatever stands around that', () => {
    const odd = fc.constantFrom('..', '.', '', 'a\0b');
    const plain = fc.constantFrom('a', 'b c', '..x', 'out');
    fc.assert(
      fc.property(fc.array(plain, { maxLength: 4 }), odd, fc.array(plain, { maxLength: 4 }), (head, bad, tail) => {
        expect(() => refuse([['out', ...head, bad, ...tail].join('/')])).toThrow(/refused/);
      }),
    );
    for (const path of ['/etc/passwd', 'outside', 'out', 'OUT/a', 'other/out/a', ''])
      expect(() => refuse([path])).toThrow(/refused/);
  });

  it.each([
    [['out/A', 'out/a']],
    [['out/\u00e9', 'out/e\u0301']],
    [['out/d/x', 'out/D/y']],
    [['out/a', 'out/a/b']],
    [['out/a/b', 'out/A']],
    [['out/a', 'out/a']],
  ])('is refused where %j are one name on some file systems', (paths) => {
    expect(() => refuse(paths)).toThrow(/one name/);
    expect(() => refuse([...paths].reverse())).toThrow(/one name/);
  });

  it('never replaces a file under version control', () => {
    expect(() => refuse(['out/kept'], ['out/kept'])).toThrow(/under version control/);
    expect(() => refuse(['out/new'], ['out/kept'])).not.toThrow();
  });

  it('is refused over the limit, with the largest named', () => {
    const all = [artifact('out/small', 1), artifact('out/large', 100)];
    expect(() => refuseUnsafeArtifacts(all, 'out', null, 100)).toThrow(/out\/large/);
    expect(() => refuseUnsafeArtifacts(all, 'out', null, 101)).not.toThrow();
  });
});
