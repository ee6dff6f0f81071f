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

  it('is not read where it is a link out of the workspace: the message of a syntax error would quote the file', () => {
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
});
