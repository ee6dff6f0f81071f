import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { resolveConnection } from './connection';

const nxJson = {
  plugins: [
    { plugin: 'nx-ec2', options: { bucket: 'acme', prefix: 'team', region: 'eu-west-1', instance: 'box', sync: {} } },
  ],
};

describe('the connection of a workspace', () => {
  const resolve = (options: Record<string, string | undefined>, environment: NodeJS.ProcessEnv = {}) =>
    resolveConnection({ workspaceRoot: '/nowhere-of-ours', nxJson, options, environment });

  it('is that of the plugin in nx.json, under the command line', () => {
    expect(resolve({ prefix: 'other', profile: undefined })).toEqual({
      bucket: 'acme',
      prefix: 'other',
      region: 'eu-west-1',
    });
  });

  it('is, for a project, what its own file says', () => {
    const workspaceRoot = mkdtempSync(join(tmpdir(), 'nx-ec2-connection-'));
    try {
      mkdirSync(join(workspaceRoot, 'model'));
      const write = (own: object) => writeFileSync(join(workspaceRoot, 'model/ec2.config.json'), JSON.stringify(own));
      const own = (options = {}) => resolveConnection({ workspaceRoot, nxJson, projectRoot: 'model', options });
      write({ bucket: 'ours', train: { script: 'x' } });
      expect(own()).toEqual({ bucket: 'ours', prefix: 'team', region: 'eu-west-1' });
      expect(own({ bucket: 'another' }).bucket).toBe('another');
      write({ bucket: 'NO' });
      expect(own).toThrow(/"bucket" in model\/ec2\.config\.json/);
    } finally {
      rmSync(workspaceRoot, { recursive: true });
    }
  });

  it('says where what is wrong comes from', () => {
    expect(() => resolve({ prefix: 'a b' })).toThrow(/--prefix: may hold/);
    const wrong = { plugins: [{ plugin: 'nx-ec2', options: { bucket: 'NO' } }] };
    expect(() => resolveConnection({ workspaceRoot: '/', nxJson: wrong, options: {} })).toThrow(/"bucket" in nx.json/);
    expect(() => resolveConnection({ workspaceRoot: '/', nxJson: {}, options: {} })).toThrow(/No bucket is named/);
  });

  it('is what the policy allows', () => {
    const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-policy-'));
    try {
      const workspaceRoot = mkdtempSync(join(directory, 'workspace-'));
      const policy = join(directory, 'policy.json');
      writeFileSync(policy, JSON.stringify({ buckets: ['acme'], instances: [] }));
      const limited = (bucket: string) =>
        resolveConnection({ workspaceRoot, nxJson, options: { bucket }, environment: { NX_EC2_POLICY: policy } });
      expect(limited('acme').bucket).toBe('acme');
      expect(() => limited('other')).toThrow(/does not allow "bucket": "other"/);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
