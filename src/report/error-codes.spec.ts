import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ERROR_CODES, runtimeCode } from './error-codes';

const SRC = join(__dirname, '..');
const sources = (extension: string) =>
  readdirSync(SRC, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith(extension) && !/spec|fixture|tests\/|error-codes/.test(path))
    .map((path) => readFileSync(join(SRC, path), 'utf8'))
    .join('\n');

/** Codes in Python: the first argument of what raises or records a failure, and "code" of a failure that is a dict. */
const IN_PYTHON =
  /(?:\b(?:Failure|failure|fail)\(\s*|"code": |\["code"\] = )"([A-Z][A-Z0-9_]+)"(?:\s+if [^,\n]+? else "([A-Z][A-Z0-9_]+)")?/g;

describe('the catalog of error codes', () => {
  const python = sources('.py');
  const typescript = sources('.ts');

  it('has every code that the runtime reports', () => {
    const codes = [...python.matchAll(IN_PYTHON)].flatMap(([, code, other]) => (other ? [code, other] : [code]));
    expect(codes.length).toBeGreaterThan(100);
    expect([...new Set(codes)].filter((code) => !(code in ERROR_CODES.runtime))).toEqual([]);
  });

  it.each(Object.keys(ERROR_CODES.runtime))('%s is a code of the runtime', (code) => {
    expect(python + typescript).toMatch(new RegExp(`['"]${code}['"]`));
  });

  it.each(Object.keys(ERROR_CODES.client))('%s is a code of the client', (code) => {
    expect(typescript).toMatch(new RegExp(`['"]${code}['"]`));
  });

  it('has one plain sentence for each', () => {
    for (const sentence of Object.values({ ...ERROR_CODES.client, ...ERROR_CODES.runtime }))
      expect(sentence).toMatch(/^[A-Z`].+[^.]\.$/);
  });

  it('reads a text from an instance that is no code as INTERNAL', () => {
    expect(runtimeCode('NO_SPACE')).toBe('NO_SPACE');
    expect(runtimeCode('toString')).toBe('INTERNAL');
    expect(runtimeCode('NO_SUCH_CODE')).toBe('INTERNAL');
  });
});
