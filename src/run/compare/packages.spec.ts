import fc from 'fast-check';
import { comparePackages, isLockFile, readPackages } from './packages';

const name = fc.stringMatching(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,10}[A-Za-z0-9])?$/);
const version = fc.stringMatching(/^[0-9]{1,3}(\.[0-9]{1,3}){0,3}(rc[0-9])?(\+[a-z0-9]{1,5})?$/);
const normal = (each: string) => each.toLowerCase().replace(/[-_.]+/g, '-');
const packages = fc.uniqueArray(fc.tuple(name, version), { selector: ([each]) => normal(each), maxLength: 8 });

const locks: Record<string, (of: [string, string][]) => string> = {
  'uv.lock': (of) =>
    `version = 1\n${of.map(([n, v]) => `[[package]]\nname = "${n}"\nversion = "${v}"\nsource = { registry = "https://x" }\n`).join('\n')}`,
  'poetry.lock': (of) =>
    of.map(([n, v]) => `[[package]]\nname = "${n}"\nversion = "${v}"\noptional = false\n`).join('\n'),
  'requirements-dev.txt': (of) =>
    `# pinned\n--index-url https://x\n${of.map(([n, v], at) => `${n}${at % 2 ? '[extra]' : ''}${at % 3 ? '==' : ' == '}${v} ; python_version > "3.8" \\\n    --hash=sha256:abc`).join('\n')}\nunpinned>=3\n`,
};

describe('the packages of a lock file', () => {
  it.each(Object.keys(locks))('are read from %s, whatever their names are', async (path) => {
    await fc.assert(
      fc.asyncProperty(packages, async (of) => {
        const expected = of.map(([n, v]) => [normal(n), v]).sort(([a], [b]) => (a < b ? -1 : 1));
        expect([...(await readPackages(path, locks[path](of)))]).toEqual(expected);
      }),
    );
  });

  it('are compared by their versions', async () => {
    const before = locks['uv.lock']([
      ['numpy', '1.26.0'],
      ['torch', '2.1.0'],
      ['Old_Name', '1'],
      ['same', '3'],
    ]);
    const after = locks['uv.lock']([
      ['numpy', '2.0.0'],
      ['numpy', '1.26.0'],
      ['torch', '2.2.0'],
      ['new', '1'],
      ['same', '3'],
    ]);
    expect(await comparePackages('model/uv.lock', before, after)).toEqual({
      path: 'model/uv.lock',
      added: [{ name: 'new', version: '1' }],
      removed: [{ name: 'old-name', version: '1' }],
      changed: [
        { name: 'numpy', before: '1.26.0', after: '1.26.0, 2.0.0' },
        { name: 'torch', before: '2.1.0', after: '2.2.0' },
      ],
    });
  });

  it('are read in linear time, whatever the file contains', async () => {
    const blanks = ' '.repeat(1_000_000);
    const text = `a${blanks}x\nb [extra] == 2\nc[${blanks}\nd${blanks}==${blanks}1\n`;
    expect([...(await readPackages('requirements.txt', text))]).toEqual([
      ['b', '2'],
      ['d', '1'],
    ]);
  });

  it('are read from files with these names', () => {
    expect(['uv.lock', 'a/poetry.lock', 'requirements.txt', 'Pipfile.lock'].map(isLockFile)).toEqual([
      true,
      true,
      true,
      true,
    ]);
    expect(['lock', 'uv.lock.py', 'a/requirements/x.py'].map(isLockFile)).toEqual([false, false, false]);
  });
});
