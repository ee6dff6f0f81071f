import { execFile } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { startFixture } from '../local-aws.fixture';
import { startLocalAws } from '../server';

describe('the state directory of local AWS', () => {
  let parent: string;
  let directory: string;
  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'nx-ec2-state-'));
    directory = join(parent, 'state');
  });
  afterEach(() => rmSync(parent, { recursive: true, force: true }));

  const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);

  it('has its own secret, which only its owner can read and a restart keeps', async () => {
    const first = await startFixture({ directory });
    const secret = first.aws.environment.AWS_SECRET_ACCESS_KEY;
    expect([mode(directory), mode(join(directory, 'secret-access-key'))]).toEqual(['700', '600']);
    const other = await startFixture();
    expect(other.aws.environment.AWS_SECRET_ACCESS_KEY).not.toBe(secret);
    const foreign = new STSClient({ ...first.clientOptions, credentials: other.clientOptions.credentials });
    await expect(foreign.send(new GetCallerIdentityCommand({}))).rejects.toThrow('signature');
    await other.close();
    await first.close();
    const again = await startFixture({ directory });
    expect(again.aws.environment.AWS_SECRET_ACCESS_KEY).toBe(secret);
    await again.close();
  });

  it('is private, and ignored by Git and Nx, also if an earlier version created it', async () => {
    mkdirSync(join(directory, 's3'), { recursive: true });
    chmodSync(directory, 0o755);
    const at = await startFixture({ directory });
    await at.s3.send(new PutObjectCommand({ Bucket: 'bucket', Key: 'a', Body: 'b' }));
    expect(mode(directory)).toBe('700');
    for (const name of ['.gitignore', '.nxignore']) expect(readFileSync(join(directory, name), 'utf8')).toBe('*\n');
    await at.close();
  });

  it('keeps its files out of the project graph, wherever in a workspace it is', async () => {
    writeFileSync(join(parent, 'nx.json'), '{}');
    writeFileSync(join(parent, 'package.json'), '{ "name": "workspace", "private": true }');
    symlinkSync(dirname(dirname(require.resolve('nx/package.json'))), join(parent, 'node_modules'));
    const project = (path: string, name: string) => {
      mkdirSync(join(parent, path), { recursive: true });
      writeFileSync(join(parent, path, 'project.json'), JSON.stringify({ name }));
    };
    project('model', 'model');
    for (const state of ['.nx-ec2/local-aws', 'tools/state']) {
      await (await startFixture({ directory: join(parent, state) })).close();
      project(`${state}/instances/i-1/tree/copy`, 'model');
    }
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [require.resolve('nx/bin/nx.js'), 'show', 'projects', '--json'],
      { cwd: parent, env: { ...process.env, NX_DAEMON: 'false', NX_NO_CLOUD: 'true' } },
    );
    expect(JSON.parse(stdout)).toEqual(['model']);
  });

  it.each(['instances/instances.json', 'parameters.json', 'secrets.json'])(
    'is refused with the name of a damaged file: %s',
    async (name) => {
      await (await startFixture({ directory })).close();
      for (const text of ['', '[{"id":"i-']) {
        writeFileSync(join(directory, name), text);
        await expect(startLocalAws({ directory })).rejects.toThrow(`${join(directory, name)} is damaged`);
      }
      rmSync(join(directory, name));
      await (await startFixture({ directory })).close();
    },
  );

  it('cannot be a directory with other files', async () => {
    mkdirSync(directory);
    writeFileSync(join(directory, 'package.json'), '{}');
    await expect(startLocalAws({ directory })).rejects.toThrow('holds files and no state of local AWS');
    expect(existsSync(join(directory, '.nxignore'))).toBe(false);
  });
});
