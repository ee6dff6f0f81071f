import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { seal } from './seal';

/** The bootstrap's own function, out of the program that holds it. */
const UNSEAL = `
import ast, base64, hmac, json, sys
tree = ast.parse(open(sys.argv[1]).read())
tree.body = [each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name == "unseal"]
exec(compile(tree, "bootstrap", "exec"))
answers = []
for sealed, key in json.load(sys.stdin):
    opened = unseal(base64.b64decode(sealed), base64.b64decode(key))
    answers.append(None if opened is None else base64.b64encode(opened).decode())
print(json.dumps(answers))
`;

/** What the instance makes of sealed bytes: all in one process, which takes a while to start. */
function unseal(all: (readonly [sealed: Buffer, key: Buffer])[]): (Buffer | null)[] {
  const input = JSON.stringify(all.map((pair) => pair.map((each) => each.toString('base64'))));
  const done = spawnSync('python3', ['-c', UNSEAL, join(__dirname, '../runtime/bootstrap.py')], {
    input,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (done.status !== 0) throw new Error(done.stderr);
  return (JSON.parse(done.stdout) as (string | null)[]).map((each) =>
    each === null ? null : Buffer.from(each, 'base64'),
  );
}

const bytes = fc.uint8Array({ maxLength: 300 }).map((each) => Buffer.from(each));
const key = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((each) => Buffer.from(each));

describe('a sealed plan', () => {
  it('is decrypted by the instance, whatever it contains', () => {
    const given = fc.sample(fc.tuple(bytes, key), 300).concat([[randomBytes(1 << 20), randomBytes(32)]]);
    const opened = unseal(given.map(([data, by]) => [seal(data, by), by]));
    expect(opened.map((each, at) => each?.equals(given[at][0]))).toEqual(given.map(() => true));
  });

  it('is refused if a bit was changed, bytes are missing, or the key is another one', () => {
    const changed = fc.sample(fc.tuple(bytes, key, fc.nat(), fc.nat(7)), 300).map(([data, by, at, bit]) => {
      const sealed = seal(data, by);
      sealed[at % sealed.length] ^= 1 << bit;
      return [sealed, by] as const;
    });
    const short = fc.sample(fc.tuple(bytes, key, fc.nat()), 100).map(([data, by, at]) => {
      const sealed = seal(data, by);
      return [sealed.subarray(0, at % sealed.length), by] as const;
    });
    const other = fc.sample(fc.tuple(bytes, key), 100).map(([data, by]) => [seal(data, by), randomBytes(32)] as const);
    const all = [...changed, ...short, ...other];
    expect(unseal(all)).toEqual(all.map(() => null));
  });

  it('is different each time, and contains none of the plain bytes', () => {
    const plain = Buffer.from('TOKEN=hunter2-hunter2-hunter2');
    const by = randomBytes(32);
    expect(seal(plain, by).equals(seal(plain, by))).toBe(false);
    expect(seal(plain, by).includes('hunter2')).toBe(false);
  });

  it('has a bootstrap that a shell reads as one word', () => {
    expect(readFileSync(join(__dirname, '../runtime/bootstrap.py'), 'utf8')).not.toMatch(/'|\{\{/);
  });
});
