import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Problem } from '../report/problem';
import { withOrigins } from './sources/setting-origins';
import { ACCOUNT_KEYS, resolveConnection, resolvePlace, type ConnectionKey } from './connection';

const nxJson = {
  plugins: [
    { plugin: 'nx-ec2', options: { bucket: 'acme', prefix: 'team', region: 'eu-west-1', instance: 'box', sync: {} } },
  ],
};

describe('the connection of a workspace', () => {
  const resolve = (options: Record<string, string | undefined>, environment: NodeJS.ProcessEnv = {}) =>
    resolveConnection({ workspaceRoot: '/nowhere-of-ours', nxJson, options, environment });

  it("comes from the plugin's options in nx.json, overridden by the command line", () => {
    expect(resolve({ prefix: 'other', profile: undefined })).toEqual({
      bucket: 'acme',
      prefix: 'other',
      region: 'eu-west-1',
      sources: expect.any(Array),
    });
  });

  it('names the place of a value that AWS or a policy refuses', () => {
    const { sources } = resolve({ prefix: 'other' }, {});
    const refused = new Problem('BUCKET', 'No.', { settings: ['bucket', 'prefix', 'region', 'kmsKeyId'] });
    expect(withOrigins(refused, sources!, {}).message.split('\n').slice(1)).toEqual([
      '  the options of nx-ec2 in nx.json: bucket: "acme"',
      '  --prefix=other',
      '  the options of nx-ec2 in nx.json: region: "eu-west-1"',
    ]);
  });

  it("comes from the project's own file for a command of a project", () => {
    const workspaceRoot = mkdtempSync(join(tmpdir(), 'nx-ec2-connection-'));
    try {
      mkdirSync(join(workspaceRoot, 'model'));
      const write = (own: object) => writeFileSync(join(workspaceRoot, 'model/ec2.config.json'), JSON.stringify(own));
      const own = (options = {}) => resolveConnection({ workspaceRoot, nxJson, projectRoot: 'model', options });
      write({ bucket: 'ours', train: { script: 'x' } });
      expect(own()).toEqual({ bucket: 'ours', prefix: 'team', region: 'eu-west-1', sources: expect.any(Array) });
      expect(own({ bucket: 'another' }).bucket).toBe('another');
      write({ bucket: 'NO' });
      expect(own).toThrow(/"bucket" in model\/ec2\.config\.json/);
    } finally {
      rmSync(workspaceRoot, { recursive: true });
    }
  });

  it('names the place of an invalid value', () => {
    expect(() => resolve({ prefix: 'a b' })).toThrow(/--prefix: may hold/);
    const wrong = { plugins: [{ plugin: 'nx-ec2', options: { bucket: 'NO' } }] };
    expect(() => resolveConnection({ workspaceRoot: '/', nxJson: wrong, options: {} })).toThrow(/"bucket" in nx.json/);
    expect(() => resolveConnection({ workspaceRoot: '/', nxJson: {}, options: {} })).toThrow(/No bucket is configured/);
  });

  it('comes from one of several entries in nx.json, which the command line chooses', () => {
    const entry = (bucket: string, region: string, include?: string[]) => ({
      plugin: 'nx-ec2',
      options: { bucket, region },
      include,
    });
    const several = {
      plugins: [
        { plugin: 'nx-ec2', options: { prefix: 'team' } },
        entry('one', 'eu-west-1', ['a/**']),
        entry('two', 'eu-west-1', ['b/**']),
      ],
    };
    const of = (options: object, keys?: readonly ConnectionKey[]) =>
      resolvePlace({ workspaceRoot: '/nowhere-of-ours', nxJson: several, options, environment: {}, keys });
    expect(() => of({})).toThrow(/differ in "bucket": none, one, two|differ in "region"/);
    const two = { bucket: 'two', prefix: 'team', region: 'eu-west-1', sources: expect.any(Array) };
    expect(of({ bucket: 'two' })).toEqual(two);
    const project = { workspaceRoot: '/nowhere-of-ours', nxJson: several, projectRoot: 'b/model', environment: {} };
    expect(resolvePlace({ ...project, options: {} })).toEqual(two);
    several.plugins.shift();
    expect(() => of({})).toThrow(/differ in "bucket": one, two\.[^]*--bucket/);
    expect(of({}, ACCOUNT_KEYS).region).toBe('eu-west-1');
  });

  it('is refused if the policy does not allow it', () => {
    const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-policy-'));
    try {
      const workspaceRoot = mkdtempSync(join(directory, 'workspace-'));
      const policy = join(directory, 'policy.json');
      writeFileSync(policy, JSON.stringify({ buckets: ['acme'], instances: [] }));
      const limited = (bucket: string) =>
        resolveConnection({ workspaceRoot, nxJson, options: { bucket }, environment: { NX_EC2_POLICY: policy } });
      expect(limited('acme').bucket).toBe('acme');
      expect(() => limited('other')).toThrow(/does not allow "bucket": "other"[^]*\n {2}--bucket=other$/);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
