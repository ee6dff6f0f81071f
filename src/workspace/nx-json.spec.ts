import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { inspect } from 'node:util';
import { readNxJson } from './nx-json';

describe('nx.json', () => {
  let root: string;
  beforeEach(() => (root = mkdtempSync(join(tmpdir(), 'nx-ec2-nx-json-'))));
  afterEach(() => rmSync(root, { recursive: true, force: true }));
  const write = (path: string, text: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  const preset = JSON.stringify({
    plugins: [{ plugin: 'nx-ec2', options: { bucket: 'preset' } }],
    defaultBase: 'trunk',
  });

  it.each([
    ['a file', './tools/base.json', 'tools/base.json'],
    ['a package', 'acme-presets/nx.json', 'node_modules/acme-presets/nx.json'],
    [
      "a package of Nx's own installation",
      'acme-presets/nx.json',
      '.nx/installation/node_modules/acme-presets/nx.json',
    ],
  ])('is read over %s that it extends, as Nx reads it', (_, name, path) => {
    write(path, preset);
    write('nx.json', `{ "extends": "${name}", "defaultBase": "main", /* a comment */ }`);
    const read = readNxJson(root);
    expect(read).toEqual({ ...JSON.parse(preset), extends: name, defaultBase: 'main' });
    const nx = jest.requireActual<{ readNxJson(root: string): object }>(
      join(dirname(require.resolve('nx/package.json')), 'dist/src/config/nx-json.js'),
    );
    expect(read).toEqual(nx.readNxJson(root));
  });

  it('is empty if the file does not exist', () => {
    expect(readNxJson(root)).toEqual({});
  });

  it('names what it extends and what is wrong with it', () => {
    write('nx.json', '{ "extends": "acme-missing/nx.json" }');
    expect(() => readNxJson(root)).toThrow(/^nx\.json extends acme-missing\/nx\.json, which can't be found/);
    write('base.json', '{\n  "plugins": [}\n');
    write('nx.json', '{ "extends": "./base.json" }');
    expect(() => readNxJson(root)).toThrow(/base\.json is not valid JSON: .*at 2:1[45]/s);
  });

  it('does not quote a file that it extends and that is no JSON', () => {
    write('credentials', '[default]\naws_secret_access_key = SECRET\n');
    write('nx.json', JSON.stringify({ extends: join(root, 'credentials') }));
    let error: unknown;
    try {
      readNxJson(root);
    } catch (each) {
      error = each;
    }
    expect(error).toMatchObject({
      code: 'CONFIG_SYNTAX',
      message: expect.stringMatching(/credentials is not valid JSON: .*at 1:2$/),
    });
    expect(inspect(error, { depth: 9 })).not.toMatch(/default|SECRET/);
  });

  it.each([
    ['null', 'CONFIG_SYNTAX'],
    ['[]', 'CONFIG_SYNTAX'],
    ['{ "extends": { "toString": 1 } }', 'CONFIG_EXTENDS'],
    ['{ "extends": ["./a.json"] }', 'CONFIG_EXTENDS'],
    ['{ "extends": "fs" }', 'CONFIG_EXTENDS'],
  ])('is refused with a message if it is %s', (text, code) => {
    write('nx.json', text);
    expect(() => readNxJson(root)).toThrow(expect.objectContaining({ code }));
  });
});
