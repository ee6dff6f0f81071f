import fc from 'fast-check';
import { includedRequirements, insideWorkspace, requirementsFiles } from './environment-files';

describe('the files that a requirements file includes', () => {
  it.each([
    ['-r base.txt', ['a/base.txt']],
    ['-rbase.txt', ['a/base.txt']],
    ['  --requirement=../base.txt  # all', ['base.txt']],
    ['-c "lim its.txt"', ['a/lim its.txt']],
    ['--constraint limits.txt', ['a/limits.txt']],
    ['  - -r requirements.txt', ['a/requirements.txt']],
    ['  - "-r requirements.txt"', ['a/requirements.txt']],
    ['-r /etc/passwd', []],
    ['-r https://x.test/a.txt', ['a/https:/x.test/a.txt']],
    ['# -r base.txt', []],
    ['torch -r base.txt', []],
    ['--require-hashes', []],
    ['-e ../lib', []],
  ])('%j', (line, expected) => {
    expect(includedRequirements('a/requirements.txt', `torch\r\n${line}\r\n`)).toEqual(expected);
  });

  const part = fc.constantFrom('..', '.', 'a', 'b c', '', '~', '\\', 'x.txt');
  const path = fc.array(part, { minLength: 1, maxLength: 6 }).map((parts) => parts.join('/'));

  it('are inside the workspace, whatever they are called', () => {
    fc.assert(
      fc.property(fc.constantFrom('', 'a', 'a/b c', 'a/b/c'), path, (directory, named) => {
        const inside = insideWorkspace(directory, named);
        if (inside === null) return;
        expect(inside.split('/')).not.toContain('..');
        expect(inside.startsWith('/')).toBe(false);
      }),
    );
  });

  it('are found to the end, where they include each other as well', () => {
    const graph = fc.dictionary(
      fc.constantFrom('a', 'b', 'c', 'd'),
      fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e')),
    );
    fc.assert(
      fc.property(graph, (includes) => {
        const found = requirementsFiles('a', {
          exists: (file) => file in includes,
          read: (file) => includes[file].map((each) => `-r ${each}`).join('\n'),
        });
        expect(found).toEqual([...new Set(found)].sort());
        for (const file of found)
          for (const each of includes[file]) expect(found.includes(each)).toBe(each in includes);
        expect(found.includes('a')).toBe('a' in includes);
      }),
    );
  });
});
