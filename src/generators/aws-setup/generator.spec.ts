import { readJson, readNxJson } from '@nx/devkit';
import { createTreeWithEmptyWorkspace } from '@nx/devkit/testing';
import fc from 'fast-check';
import { Problem } from '../../report/problem';
import awsSetup from './generator';
import { setupTemplate } from './template';

interface Statement {
  Effect: string;
  Action: string | string[];
  Resource: unknown;
  Condition?: unknown;
}

/** Every statement of every policy, wherever the template has it. */
function statements(value: unknown): Statement[] {
  if (typeof value !== 'object' || value === null) return [];
  const all =
    'Statement' in value ? (value.Statement as (Statement | { 'Fn::If': [string, Statement, object] })[]) : [];
  const own = all.flatMap((each) =>
    'Fn::If' in each
      ? each['Fn::If'].filter((value): value is Statement => Object(value).Action !== undefined)
      : [each],
  );
  return [...own, ...(own.length ? [] : Object.values(value).flatMap(statements))];
}

describe('aws-setup', () => {
  it('writes the template and names the bucket in nx.json', async () => {
    const tree = createTreeWithEmptyWorkspace({ formatter: 'none' });
    await awsSetup(tree, { bucket: 'acme-training', region: 'eu-west-1' });
    expect(readJson(tree, 'aws/nx-ec2.template.json').Parameters.BucketName.Default).toBe('acme-training');
    expect(readNxJson(tree)!.plugins).toEqual([
      { plugin: 'nx-ec2', options: { bucket: 'acme-training', region: 'eu-west-1' } },
    ]);
    const once = tree.listChanges().map(({ path, content }) => [path, content?.toString()]);
    await awsSetup(tree, { bucket: 'acme-training' });
    expect(tree.listChanges().map(({ path, content }) => [path, content?.toString()])).toEqual(once);
  });

  it('accepts the bucket names that S3 accepts, and no others', async () => {
    const character = fc.constantFrom(...'ab09-._A /$\'"{}\u00e9');
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: character, maxLength: 70 }), async (bucket) => {
        const tree = createTreeWithEmptyWorkspace({ formatter: 'none' });
        const error = await awsSetup(tree, { bucket }).then(
          () => null,
          (reason: unknown) => reason,
        );
        // https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
        const valid =
          /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket) &&
          !bucket.includes('..') &&
          !/^\d+(\.\d+){3}$/.test(bucket);
        if (valid) expect(error).toBeNull();
        else expect(error).toBeInstanceOf(Problem);
      }),
      { numRuns: 100 },
    );
  });

  it("grants an action on all resources only if AWS can't limit it to one, and no action by wildcard", () => {
    const allowed = statements(setupTemplate('acme-training')).filter(({ Effect }) => Effect === 'Allow');
    for (const action of allowed.flatMap(({ Action }) => Action)) expect(action).not.toContain('*');
    const onAll = allowed.filter(({ Resource }) => Resource === '*').flatMap(({ Action }) => Action);
    expect(onAll.length).toBeGreaterThan(0);
    for (const action of onAll)
      expect(action).toMatch(/^(ssmmessages:|ec2messages:|ssm:(Update|Get|Describe)|ec2:Describe)/);
  });

  it('keeps the bucket private and lets commands reach tagged instances only', () => {
    const { Resources } = setupTemplate('acme-training') as { Resources: Record<string, { Properties: object }> };
    expect(
      Object.values(
        (Resources.Bucket.Properties as { PublicAccessBlockConfiguration: object }).PublicAccessBlockConfiguration,
      ),
    ).toEqual([true, true, true, true]);
    const sends = statements(Resources.CallerPolicy).filter(({ Action }) => Action === 'ssm:SendCommand');
    expect(sends).toHaveLength(2);
    expect(JSON.stringify(sends[0].Resource)).toContain('document/AWS-RunShellScript');
    expect(sends[1].Condition).toEqual({ Null: { 'ssm:resourceTag/nx-ec2': 'false' } });
  });

  const resources = () => (setupTemplate('acme-training') as { Resources: Record<string, object> }).Resources;
  const named = (resource: unknown) =>
    [resource].flat().map((each) => (each as { 'Fn::Sub'?: string })['Fn::Sub'] ?? each);

  it('lets an instance write and read runs, and read its secrets and data, and nothing else', () => {
    const role = statements(resources().InstanceRole).filter(
      ({ Effect, Action }) => Effect === 'Allow' && !String(Action).includes('sts:'),
    );
    const granted = (action: string) => role.filter(({ Action }) => [Action].flat().includes(action));
    const written = [
      'record.json',
      'probe',
      'times.json',
      'artifacts.json',
      'members.json',
      'starting.json',
      'log/*',
      'metrics/*',
      'part/*',
      'checkpoint/*',
      'slot/*',
    ];
    expect(granted('s3:PutObject').flatMap(({ Resource }) => named(Resource))).toEqual(
      written.map((name) => `\${Bucket.Arn}/\${Prefix}v2/projects/*/run/*/${name}`),
    );
    expect(granted('s3:GetObject').flatMap(({ Resource }) => named(Resource))).toEqual([
      '${Bucket.Arn}/${Prefix}v2/projects/*/run/*',
      { Ref: 'DataArns' },
    ]);
    expect(granted('s3:ListBucket')[0].Condition).toEqual({
      StringLike: { 's3:prefix': [{ 'Fn::Sub': '${Prefix}v2/projects/*/run/*' }] },
    });
    expect(granted('s3:DeleteObject')).toEqual([]);
    expect(named(granted('ssm:GetParameter')[0].Resource)).toEqual([
      'arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/${SecretPrefix}/*',
    ]);
    expect(named(granted('secretsmanager:GetSecretValue')[0].Resource)).toEqual([
      'arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:${SecretPrefix}/*',
    ]);
    expect(granted('kms:Decrypt').map(({ Resource }) => Resource)).toEqual([{ Ref: 'KmsKeyArn' }]);
  });

  it('makes what is optional depend on its parameter', () => {
    const { Parameters, Conditions } = setupTemplate('acme-training') as Record<
      string,
      Record<string, { Default: string }>
    >;
    for (const [condition, parameter, unset] of [
      ['HasData', 'DataArns', ''],
      ['HasKey', 'KmsKeyArn', ''],
      ['HasPrefix', 'Prefix', '*'],
    ]) {
      expect(Parameters[parameter].Default).toBe(unset);
      expect(JSON.stringify(Conditions[condition])).toContain(`{"Ref":"${parameter}"}`);
      expect(JSON.stringify(resources())).toContain(`{"Fn::If":["${condition}",`);
    }
  });

  it('keeps callers and instances to the prefix that is set', () => {
    const all = [resources().CallerPolicy, resources().InstanceRole, resources().PrunePolicy].flatMap((resource) =>
      JSON.stringify(resource).match(/"Fn::Sub":"[^"]*"/g),
    );
    const onObjects = all.filter((text) => text?.includes('${Bucket.Arn}/'));
    expect(onObjects.length).toBeGreaterThan(5);
    for (const text of onObjects) expect(text).toContain('${Bucket.Arn}/${Prefix}v2/');
    const lists = statements(resources().CallerPolicy).filter(({ Action }) => Action === 's3:ListBucket');
    expect(lists.map(({ Condition }) => Condition)).toEqual([
      undefined,
      { StringLike: { 's3:prefix': [{ 'Fn::Sub': '${Prefix}v2/*' }] } },
    ]);
    const caller = JSON.stringify(resources().CallerPolicy);
    expect(caller).toContain('{"Fn::If":["HasPrefix",{"Ref":"AWS::NoValue"},{"Sid":"Bucket"');
    expect(caller).toContain('{"Fn::If":["HasPrefix",{"Sid":"BelowPrefix"');
    const pattern = new RegExp(
      `^(?:${(setupTemplate('a') as { Parameters: Record<string, Record<string, string>> }).Parameters.Prefix.AllowedPattern})$`,
    );
    for (const prefix of ['*', 'team-a/', 'ml/team_b/']) expect(prefix).toMatch(pattern);
    for (const prefix of ['', 'team-a', 'team*/', '${x}/', '/', 'a//']) expect(prefix).not.toMatch(pattern);
  });

  it('lets callers start four documents on tagged instances, and end sessions of their own', () => {
    const caller = statements(resources().CallerPolicy);
    const starts = caller.filter(({ Action }) => Action === 'ssm:StartSession');
    expect(starts.flatMap(({ Resource }) => named(Resource))).toEqual([
      'arn:${AWS::Partition}:ssm:${AWS::Region}::document/AWS-StartNonInteractiveCommand',
      'arn:${AWS::Partition}:ssm:${AWS::Region}::document/AWS-StartInteractiveCommand',
      'arn:${AWS::Partition}:ssm:${AWS::Region}::document/AWS-StartPortForwardingSession',
      'arn:${AWS::Partition}:ssm:${AWS::Region}::document/AWS-StartSSHSession',
      'arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:instance/*',
    ]);
    // Else a session without a document would be a shell.
    for (const { Condition } of starts)
      expect(Condition).toMatchObject({ BoolIfExists: { 'ssm:SessionDocumentAccessCheck': 'true' } });
    expect(starts[1].Condition).toMatchObject({ Null: { 'ssm:resourceTag/nx-ec2': 'false' } });
    const ends = caller.filter(({ Action }) => [Action].flat().includes('ssm:TerminateSession'));
    for (const { Resource, Condition } of ends) {
      const [session] = named(Resource) as string[];
      expect(/:session\/\$\{!aws:(userid|username)\}-\*$/.test(session) || Condition !== undefined).toBe(true);
    }
  });

  it('lets a job that only prunes read what decides what is reachable, write indexes, and delete', () => {
    const { Resources } = setupTemplate('acme-training') as { Resources: Record<string, object> };
    const granted = statements(Resources.PrunePolicy).map(({ Action, Resource }) => [
      Action,
      [Resource].flat().map((each) => (each as { 'Fn::Sub'?: string })['Fn::Sub']?.replace('${Bucket.Arn}/', '')),
    ]);
    expect(granted).toEqual([
      ['s3:ListBucket', [undefined]],
      [
        's3:GetObject',
        [
          'packs/*',
          'indexes/*',
          'projects/*/manifests/*',
          'projects/*/ref/*',
          'projects/*/key/*',
          'projects/*/run/*/record.json',
          'projects/*/run/*/artifacts.json',
          'projects/*/run/*/checkpoint/*',
        ].map((name) => `\${Prefix}v2/${name}`),
      ],
      ['s3:PutObject', ['${Prefix}v2/indexes/*']],
      ['s3:DeleteObject', ['${Prefix}v2/*']],
      [
        'ssm:GetParameter',
        [
          'arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/nx-ec2-callers/${Bucket}/${Prefix}secret',
        ],
      ],
    ]);
  });
});
