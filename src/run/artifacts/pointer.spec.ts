import fc from 'fast-check';
import { splitWords } from '../../config/syntax/words';
import { shellWord } from '../../report/shell-words';
import { sanitize } from '../../report/terminal-text';
import { formatPointer, isPointer, parsePointer, pointerPath, pointerTo } from './pointer';

const sha256 = 'a'.repeat(64);

describe('a pointer', () => {
  it('names the command that downloads the artifact, whatever its name contains', () => {
    // Names with characters that are not printed are quoted for bash: shell-words.spec.ts reads them by bash.
    const name = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
      .filter((each) => !shellWord(each).startsWith("$'"));
    fc.assert(
      fc.property(name, name, fc.nat(), (project, path, size) => {
        const pointer = pointerTo(project, 'r-1', { path, size, sha256 });
        expect(splitWords(pointer.how, 'how')).toEqual([
          'nx',
          'run',
          `${project}:remote-pull`,
          '--run=r-1',
          `--path=${path}`,
        ]);
        // The command is only shown: it is read as a text that is safe to print.
        const how = sanitize(pointer.how, Infinity);
        expect(parsePointer(formatPointer(pointer))).toEqual({ ...pointer, how });
        expect(isPointer(pointerPath(path)) || path.endsWith('/') || path.endsWith('\\')).toBe(true);
      }),
    );
  });

  it('is readable by people', () => {
    const file = { path: 'out/model.bin', size: 5, sha256 };
    expect(formatPointer(pointerTo('model', '20260101-000000-model-abcdef', file))).toBe(`{
  "run": "20260101-000000-model-abcdef",
  "path": "out/model.bin",
  "size": 5,
  "sha256": "${sha256}",
  "how": "nx run model:remote-pull --run=20260101-000000-model-abcdef --path=out/model.bin"
}
`);
  });

  it.each(['', '{', 'null', '[]', '{"run":"r"}', '{"run":"r","path":"p","size":-1,"sha256":"x","how":""}'])(
    'is not %j',
    (text) => expect(parsePointer(text)).toBeNull(),
  );

  it('is not the list of what a collection downloaded, nor any other file', () => {
    expect(['out/.nx-ec2.json', '.nx-ec2.json', 'out/a.json', 'a.nx-ec2.json/b'].map(isPointer)).toEqual(
      Array(4).fill(false),
    );
    expect(isPointer('out/a.nx-ec2.json')).toBe(true);
  });
});
