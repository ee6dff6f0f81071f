import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { resolveConfiguration } from '../config/configuration';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { Reporter } from '../report/reporter';
import { diagnose } from './diagnose';
import { startPipeline } from './pipeline.fixture';

describe('the doctor', () => {
  let at: Fixture;
  let workspace: string;
  beforeAll(async () => {
    at = await startPipeline({ instances: ['box'] });
    workspace = mkdtempSync(join(tmpdir(), 'nx-ec2-doctor-'));
  });
  afterAll(async () => {
    rmSync(workspace, { recursive: true });
    await at.close();
  });
  beforeEach(() => at.aws.faults.clear());

  const findings = async (instance: unknown = at.aws.named.get('box')!.id) => {
    const configuration = resolveConfiguration({
      ...{ workspaceRoot: workspace, projectName: 'model', projectRoot: 'model', nxJson: {}, environment: {} },
      options: { bucket: 'bucket', instance },
      target: 'remote-doctor',
    });
    const reporter = new Reporter({ stdout: new PassThrough().resume() as unknown as NodeJS.WriteStream });
    const found = await diagnose(configuration, 'model', workspace, reporter);
    return new Map(found.map((each) => [each.name, each]));
  };

  it('finds that the role may write runs and that a session opens, and leaves nothing behind', async () => {
    const found = await findings();
    expect(found.get('write runs by the role')).toMatchObject({ where: 'instance', ok: true });
    expect(found.get('open a session')).toMatchObject({ where: 'here', ok: true, fix: null });
    const { Contents = [] } = await at.s3.send(new ListObjectsV2Command({ Bucket: 'bucket' }));
    expect(Contents.map(({ Key }) => Key).filter((key) => !key!.includes('v1/helper/'))).toEqual([]);
  }, 60_000);

  it('says what a role that may not write, and a caller that may start no sessions, do without', async () => {
    const { deny } = at.aws.role(at.aws.named.get('box')!.id);
    deny.push('s3:PutObject');
    at.aws.faults.add({
      ...{ service: 'ssm', action: 'StartSession', times: 10 },
      error: { code: 'AccessDeniedException', message: 'not you', status: 400 },
    });
    const found = await findings();
    deny.length = 0;
    expect(found.get('write runs by the role')).toMatchObject({
      ok: null,
      detail: expect.stringMatching(/AccessDenied/),
      fix: expect.stringMatching(/InstanceProfile/),
    });
    expect(found.get('open a session')).toMatchObject({
      ok: null,
      detail: expect.stringMatching(/AccessDeniedException: not you/),
      fix: expect.stringMatching(/remote-shell/),
    });
    expect([...found.values()].filter(({ ok }) => ok === false)).toEqual([]);
  }, 60_000);

  it('looks at what a described instance would be launched from, where none is up', async () => {
    const found = await findings({ type: 't3.micro', instanceProfile: 'training' });
    for (const name of ['instance type', 'offered', 'image', 'launch an instance', 'quota for t3.micro'])
      expect(found.get(name)).toMatchObject({ where: 'here', ok: true });
    expect(found.get('instance')).toMatchObject({ ok: null, fix: expect.stringMatching(/remote-up/) });
    const { Contents = [] } = await at.s3.send(new ListObjectsV2Command({ Bucket: 'bucket' }));
    expect(Contents.filter(({ Key }) => Key!.endsWith('probe'))).toEqual([]);
  }, 60_000);
});
