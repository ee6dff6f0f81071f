import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import fc from 'fast-check';
import { includedRequirements, insideWorkspace, requirementsFiles, requirementsIndexes } from './included-files';

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
    ['-r base#1.txt', []],
    [`-r base.txt${' '.repeat(1_000_000)}"x"`, []],
    [`-r${' '.repeat(1_000_000)}base.txt`, ['a/base.txt']],
    [`-r${' '.repeat(1_000_000)}base" "`, []],
  ])('%.40j', (line, expected) => {
    expect(includedRequirements('a/requirements.txt', `torch\r\n${line}\r\n`)).toEqual(expected);
  });

  const part = fc.constantFrom('..', '.', 'a', 'b c', '', '~', '\\', 'x.txt');
  const path = fc.array(part, { minLength: 1, maxLength: 6 }).map((parts) => parts.join('/'));

  it('are inside the workspace, whatever their names are', () => {
    fc.assert(
      fc.property(fc.constantFrom('', 'a', 'a/b c', 'a/b/c'), path, (directory, named) => {
        const inside = insideWorkspace(directory, named);
        if (inside === null) return;
        expect(inside.split('/')).not.toContain('..');
        expect(inside.startsWith('/')).toBe(false);
      }),
    );
  });

  it('are all found, even if they include each other', () => {
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

describe('the indexes that a requirements file names', () => {
  it.each([
    ['--index-url https://i/simple', ['https://i/simple']],
    ['-i "https://i/simple"  # ours', ['https://i/simple']],
    ['--index-url=https://i/simple\r\ntorch\r\n-i = https://other', ['https://i/simple', 'https://other']],
    ['--index-url \\\n  https://i/simple', ['https://i/simple']],
    ['--extra-index-url https://i/simple', []],
    ['# -i https://i/simple', []],
    ['-iflag https://i', []],
    ['torch -i https://i/simple', []],
  ])('%j', (text, expected) => {
    expect(requirementsIndexes(text)).toEqual(expected);
  });

  it('are those that the runtime finds, for any text', () => {
    const piece = fc.constantFrom(
      ...['-i', '--index-url', '--extra-index-url', '-r', '-e', 'torch', '--pre', 'https://i/s#x', '"', "'", '#', '\\'],
      ...[' ', '  ', '\t', '=', '\n', '\r\n', '\r', '- ', '--hash=sha256:a', ';'],
    );
    const text = fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join(''));
    const program = [
      'import json, os, sys, tempfile',
      'from runtime.python_env import uv_pip',
      'def found(text):',
      '    with tempfile.NamedTemporaryFile(delete=False) as file: file.write(text.encode())',
      '    try: return uv_pip.options_of([file.name], "/")["index"]',
      '    finally: os.unlink(file.name)',
      'print(json.dumps([found(each) for each in json.load(sys.stdin)]))',
    ].join('\n');
    // Of many texts at once, since each call takes a process: without shrinking, each that differs is shown.
    const texts = fc.sample(text, 2000);
    const options = { input: JSON.stringify(texts), encoding: 'utf8', cwd: join(__dirname, '../..') } as const;
    const expected = JSON.parse(execFileSync('python3', ['-B', '-c', program], options)) as string[][];
    const pairs = texts.map((each, at) => ({ text: each, ours: requirementsIndexes(each), theirs: expected[at] }));
    expect(pairs.filter(({ ours, theirs }) => ours.join('\n') !== theirs.join('\n'))).toEqual([]);
    expect(expected.flat().length).toBeGreaterThan(0);
  });
});
