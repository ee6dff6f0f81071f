import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readConfigFile } from './config-file';

describe('ec2.config.json', () => {
  const home = mkdtempSync(join(tmpdir(), 'nx-ec2-config-'));
  const root = join(home, 'workspace');
  const file = join(root, 'model/ec2.config.json');
  beforeEach(() => mkdirSync(join(root, 'model'), { recursive: true }));
  afterEach(() => rmSync(root, { recursive: true, force: true }));
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  it('is not read if it is a link out of the workspace, since the message of a syntax error quotes the file', () => {
    writeFileSync(join(home, 'credentials'), '[default]\naws_secret_access_key = hidden\n');
    symlinkSync('../../credentials', file);
    const refusal = /^(?![^]*hidden)model\/ec2\.config\.json is a symbolic link that leaves the workspace/;
    expect(() => readConfigFile(root, 'model')).toThrow(refusal);
    symlinkSync('..', join(root, 'up'));
    rmSync(file);
    symlinkSync('../up/credentials', file);
    expect(() => readConfigFile(root, 'model')).toThrow(refusal);
  });

  it('may be a link to another file of the workspace, reached by a link to the workspace', () => {
    writeFileSync(join(root, 'shared.json'), '{ "region": "eu-west-1" }');
    symlinkSync('../shared.json', file);
    symlinkSync('workspace', join(home, 'link'));
    expect(readConfigFile(join(home, 'link'), 'model')).toEqual({ region: 'eu-west-1' });
    rmSync(join(home, 'link'));
  });

  it.each([
    ['a trailing comma', '{ "train": { "script": "train.py", }, }'],
    ['comments', '{ // the script\n "train": { /* it */ "script": "train.py" } }'],
    ['a byte order mark', '\ufeff{ "train": { "script": "train.py" } }'],
    ['all of them', '\ufeff{ // the script\n "train": { "script": "train.py", }, }\n'],
  ])('may have %s', (_, text) => {
    writeFileSync(file, text);
    expect(readConfigFile(root, 'model')).toEqual({ train: { script: 'train.py' } });
  });

  it.each([
    ['a word without quotes', '{\n  "train": {\n    "script": train.py\n  }\n}', /at 3:15\n.*"script": train\.py/s],
    ['a missing comma', '{ "train": { "script": "train.py"\n "x": 1 } }', /at 2:2\n/],
    ['a missing brace', '{\n  "region": "eu-west-1"', /at 2:24\n/],
    ['text after its end', '{ "region": "eu-west-1" } x', /at 1:27\n/],
  ])('is refused with line and column for %s', (_, text, where) => {
    writeFileSync(file, text);
    const read = () => readConfigFile(root, 'model');
    expect(read).toThrow(/^model\/ec2\.config\.json is not valid JSON: /);
    expect(read).toThrow(where);
  });

  it('is refused if it has a key twice, with the line', () => {
    writeFileSync(file, '{ // the instance\n "train": { "script": "a.py",\n "script": "b.py", } }\n');
    expect(() => readConfigFile(root, 'model')).toThrow(
      /^model\/ec2\.config\.json has the key "script" twice, again in line 3\./,
    );
  });

  it.each(['', ' \n', '\ufeff'])('is refused if it is empty: %j', (text) => {
    writeFileSync(file, text);
    expect(() => readConfigFile(root, 'model')).toThrow(/^model\/ec2\.config\.json is empty\.\n.*\{\}/);
  });
});
