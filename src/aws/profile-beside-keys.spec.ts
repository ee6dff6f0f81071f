import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Aws } from './clients';

describe('a profile beside keys in the environment', () => {
  const before = { ...process.env };
  const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-profile-'));
  afterAll(() => {
    process.env = before;
    rmSync(directory, { recursive: true });
  });

  it('is used, and the SDK prints nothing of its own about it', async () => {
    const file = join(directory, 'credentials');
    writeFileSync(file, '[acme]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = x\n');
    Object.assign(process.env, { AWS_SHARED_CREDENTIALS_FILE: file, AWS_CONFIG_FILE: join(directory, 'config') });
    Object.assign(process.env, { AWS_ACCESS_KEY_ID: 'AKIAKEY', AWS_SECRET_ACCESS_KEY: 'x', AWS_PROFILE: 'acme' });
    const warn = jest.spyOn(console, 'warn').mockImplementation();
    const aws = new Aws({ region: 'eu-west-1' });
    expect((await (await aws.sts()).config.credentials()).accessKeyId).toBe('AKIAPROFILE');
    expect(warn).not.toHaveBeenCalled();
    aws.close();
  });
});
