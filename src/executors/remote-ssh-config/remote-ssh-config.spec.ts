import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type * as Os from 'node:os';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { canRunSshd, Sshd } from '../../run/ssh/sshd.fixture';
import { Workshop } from '../lib/executor-harness.fixture';

let mockHome = '';
// The configuration of whoever runs this is not touched.
jest.mock('node:os', () => {
  const os = jest.requireActual<typeof Os>('node:os');
  return { ...os, userInfo: () => ({ ...os.userInfo(), homedir: mockHome }) };
});

describe('remote-ssh-config', () => {
  let shop: Workshop;
  beforeAll(async () => (shop = await Workshop.open()));
  afterAll(() => shop.close());
  beforeEach(() => {
    mockHome = mkdtempSync(join(tmpdir(), 'nx-ec2-home-'));
  });
  afterEach(() => {
    rmSync(mockHome, { recursive: true, force: true });
  });

  it.each([
    [{ host: 'a b' }, /can't be the name of a host/],
    [{ host: '*' }, /can't be the name of a host/],
    [{ port: 65_536 }, /65536 is not a port/],
    [{ port: 22.5 }, /22.5 is not a port/],
    [{ user: 'a b' }, /must be a login name/],
    [{ user: 'a\n  ProxyCommand x' }, /must be a login name/],
  ])('refuses %j before it asks the instance', async (options, message) => {
    shop.at.aws.calls.clear();
    await expect(shop.run('remote-ssh-config', options)).rejects.toThrow(message);
    expect(shop.at.aws.calls.all().map(({ action }) => action)).not.toContain('ssm:SendCommand');
  });

  const withSshd = canRunSshd ? describe : describe.skip;
  withSshd('with an SSH server on the instance', () => {
    let sshd: Sshd;
    beforeAll(async () => (sshd = await Sshd.start(shop.at.aws.instances.metadataUrl(shop.instance))));
    afterAll(() => sshd.close());

    const hostOf = (name: string) =>
      JSON.parse(readFileSync(join(shop.memory, 'ssh', name, 'host.json'), 'utf8')) as Record<string, unknown>;

    it('writes the host, and leaves the configuration of the user until it is asked', async () => {
      const config = join(mockHome, '.ssh', 'config');
      const options = { port: sshd.port, user: 'root' };
      const written = await shop.run('remote-ssh-config', options);
      expect(written).toMatchObject({ host: 'nx-ec2-model', user: 'root', instance: shop.instance, installed: false });
      expect(() => readFileSync(config)).toThrow('ENOENT');
      expect(shop.printed).toContain(`  ${written.include as string}\n`);
      mkdirSync(join(mockHome, '.ssh'));
      writeFileSync(config, 'Host mine\n');
      for (const said of ['Added to', 'Is in']) {
        expect(await shop.run('remote-ssh-config', { ...options, install: true })).toMatchObject({ installed: true });
        expect(shop.printed).toContain(`${said} ${config}`);
        expect(readFileSync(config, 'utf8')).toBe(`${written.include as string}\n\nHost mine\n`);
      }
    });

    it('remembers where the instance is, and no keys', async () => {
      const before = process.env;
      const { AWS_ACCESS_KEY_ID: key = '', AWS_SECRET_ACCESS_KEY: secret = '' } = process.env;
      const file = join(mockHome, 'credentials');
      writeFileSync(file, `[team]\naws_access_key_id=${key}\naws_secret_access_key=${secret}\n`);
      process.env = { ...before, AWS_SHARED_CREDENTIALS_FILE: file, AWS_PROFILE: 'team' };
      delete process.env.AWS_ACCESS_KEY_ID;
      delete process.env.AWS_SECRET_ACCESS_KEY;
      try {
        const options = { port: sshd.port, host: 'gpu', json: true, verbose: true };
        await shop.run('remote-ssh-config', options);
      } finally {
        process.env = before;
      }
      expect(hostOf('gpu')).toMatchObject({
        workspaceRoot: shop.workspace,
        project: 'model',
        projectRoot: 'model',
        port: sshd.port,
        options: { bucket: 'bucket', instance: { id: shop.instance }, profile: 'team', region: 'eu-west-1' },
      });
      expect(Object.keys(hostOf('gpu').options as object).sort()).toEqual(['bucket', 'instance', 'profile', 'region']);
      await shop.run('remote-ssh-config', { port: sshd.port, host: 'gpu' });
      expect(hostOf('gpu').options).not.toHaveProperty('profile');
      expect(JSON.stringify(hostOf('gpu'))).not.toContain(secret);
    });
  });
});
