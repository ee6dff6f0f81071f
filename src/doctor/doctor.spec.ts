import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { DeleteParameterCommand, GetParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import { resolveConfiguration } from '../config/configuration';
import { LOCAL_IDENTITY } from '../local-aws/protocol/identity';
import type { Fixture } from '../local-aws/local-aws.fixture';
import { Printer } from '../report/printer';
import { secretParameter } from '../store/store-secret';
import { diagnose } from './doctor';
import { startPipeline } from '../run/pipeline.fixture';

const LIMITED = { ...LOCAL_IDENTITY, accessKeyId: 'AKIALIMITEDLIMITED01', deny: [] as string[] };

describe('the doctor', () => {
  let at: Fixture;
  let workspace: string;
  beforeAll(async () => {
    at = await startPipeline({ instances: ['box'], identities: [LIMITED] });
    workspace = mkdtempSync(join(tmpdir(), 'nx-ec2-doctor-'));
  });
  afterAll(async () => {
    rmSync(workspace, { recursive: true });
    await at.close();
  });
  beforeEach(() => at.aws.faults.clear());

  const findings = async (instance: unknown = at.aws.named.get('box')!.id) => {
    const configuration = resolveConfiguration({
      workspaceRoot: workspace,
      projectName: 'model',
      projectRoot: 'model',
      nxJson: {},
      environment: {},
      options: { bucket: 'bucket', instance },
      target: 'remote-doctor',
    });
    const printer = new Printer({ stdout: new PassThrough().resume() as unknown as NodeJS.WriteStream });
    const found = await diagnose(configuration, 'model', workspace, printer);
    return new Map(found.map((each) => [each.name, each]));
  };

  it('finds that the role may write runs and that a session opens, and leaves nothing behind', async () => {
    const found = await findings();
    expect(found.get('write runs by the role')).toMatchObject({ where: 'instance', ok: true });
    expect(found.get('open a session')).toMatchObject({ where: 'here', ok: true, fix: null });
    const { Contents = [] } = await at.s3.send(new ListObjectsV2Command({ Bucket: 'bucket' }));
    expect(Contents.map(({ Key }) => Key).filter((key) => !key!.includes('v2/runtime/'))).toEqual([]);
  });

  it("checks the project's Python tool on the instance, and continues if the environment is not known", async () => {
    mkdirSync(join(workspace, 'model'), { recursive: true });
    const files = ['environment.yml', 'pixi.toml'].map((name) => join(workspace, 'model', name));
    writeFileSync(files[0], '');
    let found = await findings();
    expect(found.get('environment')).toMatchObject({ ok: true, detail: 'conda, from model/environment.yml' });
    expect(found.get("the project's conda")).toMatchObject({
      where: 'instance',
      ok: false,
      fix: expect.stringMatching(/^conda: use an AMI/),
    });
    writeFileSync(files[1], '');
    found = await findings();
    for (const path of files) rmSync(path);
    expect(found.get('environment')).toMatchObject({ ok: false, fix: expect.stringMatching(/train\.setup/) });
    expect(found.get('write to S3')).toMatchObject({ ok: true });
  });

  it('says which features need the missing rights of a role that may not write, or of a caller that may not start sessions', async () => {
    const { deny } = at.aws.role(at.aws.named.get('box')!.id);
    deny.push('s3:PutObject');
    at.aws.faults.add({
      service: 'ssm',
      action: 'StartSession',
      times: 10,
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
  });

  /** The statements on the lines of what to do. */
  const statements = (fix: string | null) => {
    const [, json] = /policy: (\{.*\})$/m.exec(fix ?? '') ?? [];
    return JSON.parse(`[${json ?? ''}]`) as object[];
  };

  describe("the secret that signs runs' records", () => {
    const SIGN = "sign runs' records";
    const KEPT = "the store's secret is kept from the role";
    const name = secretParameter('bucket', '');
    const ssm = () => new SSMClient(at.clientOptions);
    const remove = () =>
      Promise.all([
        ssm()
          .send(new DeleteParameterCommand({ Name: name }))
          .catch(() => undefined),
        rmSync(join(process.env.NX_EC2_CACHE_DIRECTORY!, 'store-secrets'), { recursive: true, force: true }),
      ]);
    beforeEach(remove);

    it('is created if the caller may do so, and the role may not read it', async () => {
      const found = await findings();
      expect(found.get(SIGN)).toMatchObject({ where: 'here', ok: true, detail: expect.stringContaining(name) });
      expect(found.get(KEPT)).toMatchObject({ where: 'instance', ok: true, fix: null });
      const { Parameter } = await ssm().send(new GetParameterCommand({ Name: name, WithDecryption: true }));
      expect(Buffer.from(Parameter!.Value!, 'base64')).toHaveLength(32);
    });

    it.each([
      ['it is there', true],
      ['it is not there yet', false],
    ])('fails for a role that may read every parameter, if %s', async (_what, there) => {
      const { allow } = at.aws.role(at.aws.named.get('box')!.id);
      allow.push('ssm:GetParameter');
      process.env.AWS_ACCESS_KEY_ID = LIMITED.accessKeyId;
      if (!there) LIMITED.deny.push('ssm:PutParameter');
      try {
        const found = await findings();
        expect(found.get(KEPT)).toMatchObject({
          where: 'instance',
          ok: false,
          detail: expect.stringContaining(name),
          fix: expect.stringMatching(/AmazonSSMManagedInstanceCore.*delete-parameter/s),
        });
        expect(found.get(SIGN)!.ok).toBe(there ? true : null);
        const secret = there && (await ssm().send(new GetParameterCommand({ Name: name, WithDecryption: true })));
        if (secret) expect(JSON.stringify([...found.values()])).not.toContain(secret.Parameter!.Value);
      } finally {
        allow.length = LIMITED.deny.length = 0;
        process.env.AWS_ACCESS_KEY_ID = LOCAL_IDENTITY.accessKeyId;
      }
    });

    it('is reported with the statement to add, and is no failure, if the caller may not read it', async () => {
      process.env.AWS_ACCESS_KEY_ID = LIMITED.accessKeyId;
      LIMITED.deny.push('ssm:GetParameter');
      try {
        const { ok, fix } = (await findings()).get(SIGN)!;
        expect(ok).toBeNull();
        expect(statements(fix)).toContainEqual(
          expect.objectContaining({ Resource: expect.stringMatching(/:parameter\/nx-ec2-callers\/bucket\//) }),
        );
      } finally {
        LIMITED.deny.length = 0;
        process.env.AWS_ACCESS_KEY_ID = LOCAL_IDENTITY.accessKeyId;
      }
    });
  });

  it('checks what an instance would be launched from if none is running', async () => {
    const project = join(workspace, 'model');
    mkdirSync(project, { recursive: true });
    writeFileSync(join(project, 'pyproject.toml'), '[project]\nname = "model"\n');
    const archive = '{ url = "https://f/torch-2-py3-none-any.whl", size = 40000000000 }';
    writeFileSync(join(project, 'uv.lock'), `[[package]]\nname = "torch"\nwheels = [${archive}]\n`);
    const found = await findings({ type: 't3.micro', instanceProfile: 'training' });
    for (const name of ['pyproject.toml', 'uv.lock']) rmSync(join(project, name));
    expect(found.get('volume')).toMatchObject({ ok: false, fix: expect.stringMatching(/"volumeSize": "132 GB"/) });
    for (const name of ['instance type', 'offered', 'image', 'launch an instance', 'quota for t3.micro'])
      expect(found.get(name)).toMatchObject({ where: 'here', ok: true });
    expect(found.get('instance')).toMatchObject({ ok: null, fix: expect.stringMatching(/remote-up/) });
    const { Contents = [] } = await at.s3.send(new ListObjectsV2Command({ Bucket: 'bucket' }));
    expect(Contents.filter(({ Key }) => Key!.endsWith('probe'))).toEqual([]);
  });

  it.each([
    ['s3:PutObject', 'write to the bucket', [{ Action: 's3:PutObject', Resource: 'arn:aws:s3:::bucket/v2/*' }]],
    ['s3:GetObject', 'read from the bucket', [{ Action: 's3:GetObject', Resource: 'arn:aws:s3:::bucket/v2/*' }]],
    ['s3:ListBucket', 'bucket', [{ Action: 's3:ListBucket', Resource: 'arn:aws:s3:::bucket' }]],
    ['ssm:DescribeInstanceInformation', 'instance', [{ Action: 'ssm:DescribeInstanceInformation', Resource: '*' }]],
    [
      'ssm:SendCommand',
      'run a command by SSM',
      [
        { Action: 'ssm:SendCommand', Resource: 'arn:aws:ssm:eu-west-1::document/AWS-RunShellScript' },
        {
          Resource: 'arn:aws:ec2:eu-west-1:000000000000:instance/*',
          Condition: { Null: { 'ssm:resourceTag/nx-ec2': 'false' } },
        },
        { Condition: { StringEquals: { 'ssm:resourceTag/nx-ec2:managed': 'true' } } },
      ],
    ],
    ['ssm:GetCommandInvocation', 'run a command by SSM', [{ Action: 'ssm:GetCommandInvocation', Resource: '*' }]],
    [
      's3:DeleteObject',
      'delete from the bucket',
      [{ Action: 's3:DeleteObject', Resource: 'arn:aws:s3:::bucket/v2/*' }],
    ],
  ])('names %s where a caller lacks it, and the statement to add', async (action, name, expected) => {
    process.env.AWS_ACCESS_KEY_ID = LIMITED.accessKeyId;
    LIMITED.deny.push(action);
    try {
      const finding = (await findings()).get(name)!;
      expect(finding).toMatchObject({ ok: false, where: 'here' });
      expect(statements(finding.fix)).toEqual(
        expected.map((each) => expect.objectContaining({ Effect: 'Allow', ...each })),
      );
      if (action === 'ssm:SendCommand') expect(finding.fix).toMatch(/create-tags --resources i-/);
    } finally {
      LIMITED.deny.length = 0;
      process.env.AWS_ACCESS_KEY_ID = LOCAL_IDENTITY.accessKeyId;
    }
  });

  it('names the missing permissions of a caller who may not launch', async () => {
    process.env.AWS_ACCESS_KEY_ID = LIMITED.accessKeyId;
    LIMITED.deny.push('iam:PassRole');
    try {
      const found = await findings({ type: 't3.micro', instanceProfile: 'training' });
      const { ok, fix } = found.get('launch an instance')!;
      expect(ok).toBe(false);
      expect(statements(fix)).toEqual([expect.objectContaining({ Action: 'iam:PassRole' })]);
    } finally {
      LIMITED.deny.length = 0;
      process.env.AWS_ACCESS_KEY_ID = LOCAL_IDENTITY.accessKeyId;
    }
  });

  it('names the rights that the role of the instance lacks, and what a session needs', async () => {
    process.env.AWS_ACCESS_KEY_ID = LIMITED.accessKeyId;
    LIMITED.deny.push('ssm:StartSession');
    const { deny } = at.aws.role(at.aws.named.get('box')!.id);
    deny.push('s3:PutObject');
    try {
      const found = await findings();
      expect(statements(found.get('write runs by the role')!.fix)).toEqual([
        {
          Effect: 'Allow',
          Action: 's3:PutObject',
          Resource: expect.arrayContaining(['arn:aws:s3:::bucket/v2/projects/*/run/*/probe']),
        },
      ]);
      expect(found.get('write runs by the role')!.fix).toContain("the instance's role's policy");
      expect(statements(found.get('open a session')!.fix)[0]).toMatchObject({
        Action: 'ssm:StartSession',
        Resource: [
          expect.stringMatching(/AWS-StartNonInteractiveCommand$/),
          expect.stringMatching(/AWS-StartInteractive/),
          expect.stringMatching(/AWS-StartPortForwardingSession$/),
          expect.stringMatching(/AWS-StartSSHSession$/),
        ],
      });
    } finally {
      LIMITED.deny.length = deny.length = 0;
      process.env.AWS_ACCESS_KEY_ID = LOCAL_IDENTITY.accessKeyId;
    }
  });
});
