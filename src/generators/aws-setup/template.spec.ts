import fc from 'fast-check';
import { CLIENT_SECRETS } from '../../aws/permissions/caller';
import { needsOf, principalOf } from '../../aws/permissions/lookup';
import { NEEDS, type Who } from '../../aws/permissions/needs';
import { Problem } from '../../report/problem';
import { readOptions, type SetupOptions } from './options';
import { setupTemplate } from './template';

interface Statement {
  Effect: string;
  Action: string | string[];
  Resource: unknown;
  Condition?: Record<string, Record<string, unknown>>;
}
interface Resource {
  Type: string;
  Properties: Record<string, unknown> & {
    PolicyDocument?: { Statement: (Statement | { 'Fn::If': [string, Statement, object] })[] };
  };
}

const ALL: SetupOptions = {
  launch: true,
  recovery: true,
  deadline: true,
  lifecycle: true,
  endpoints: {
    vpc: 'vpc-0123456789abcdef0',
    subnets: ['subnet-0123456789abcdef0', 'subnet-0123456789abcdef1'],
    routeTables: ['rtb-0123456789abcdef0'],
    securityGroups: ['sg-0123456789abcdef0'],
  },
  nodes: { vpc: 'vpc-0123456789abcdef0' },
  budget: { usd: 500, email: 'ml@acme.example' },
  instanceProfile: 'training',
};
const resources = (options: SetupOptions = ALL) =>
  (setupTemplate('acme-training', options) as { Resources: Record<string, Resource> }).Resources;
const statements = (name: string, options?: SetupOptions) =>
  resources(options)[name].Properties.PolicyDocument!.Statement.flatMap((each) =>
    'Fn::If' in each ? each['Fn::If'].filter((value) => typeof value === 'object' && 'Action' in value) : [each],
  );
const granting = (action: string, options?: SetupOptions) =>
  statements('LaunchPolicy', options).filter(({ Action }) => [Action].flat().includes(action));

describe('the template of aws-setup', () => {
  it('lets callers, with --launch, do all that the table of permissions has', () => {
    const granted = new Set(
      [...statements('CallerPolicy'), ...statements('LaunchPolicy')].flatMap(({ Action }) => Action),
    );
    // What secrets a caller may read is not the template's to say.
    const free = ['sts:GetCallerIdentity', ...CLIENT_SECRETS.flatMap(({ Action }) => Action)];
    const needed = (Object.keys(NEEDS) as Who[])
      .filter((who) => principalOf(who) === 'caller')
      .flatMap((who) => needsOf(who).map(({ action }) => action))
      .filter((action) => !free.includes(action));
    expect([...new Set(needed)].filter((action) => !granted.has(action))).toEqual([]);
  });

  it('lets them create only tagged resources, and terminate only those', () => {
    const requested = { StringEquals: { 'aws:RequestTag/nx-ec2:managed': 'true' } };
    const made = granting('ec2:RunInstances');
    expect(made.map(({ Condition }) => Condition)).toEqual([requested, undefined]);
    expect(JSON.stringify(made[1].Resource)).not.toMatch(/:(instance|volume|fleet)\//);
    expect(granting('ec2:CreateLaunchTemplate').map(({ Condition }) => Condition)).toEqual([requested]);
    for (const action of ['Terminate', 'Stop', 'Start'].map((verb) => `ec2:${verb}Instances`))
      expect(granting(action).map(({ Condition }) => Condition)).toEqual([
        { StringEquals: { 'aws:ResourceTag/nx-ec2:managed': 'true' } },
      ]);
    const [tags, ...more] = granting('ec2:CreateTags');
    expect(more).toEqual([]);
    expect(tags.Condition).toEqual({
      StringEquals: {
        'ec2:CreateAction': ['RunInstances', 'CreateFleet', 'CreateLaunchTemplate', 'CreatePlacementGroup'],
      },
    });
  });

  it('lets them pass only the role of instances, and only to EC2', () => {
    expect(granting('iam:PassRole')).toEqual([
      expect.objectContaining({
        Resource: { 'Fn::GetAtt': ['InstanceRole', 'Arn'] },
        Condition: { StringEquals: { 'iam:PassedToService': { 'Fn::Sub': 'ec2.${AWS::URLSuffix}' } } },
      }),
    ]);
    const services = granting('iam:CreateServiceLinkedRole').map(({ Condition }) => Condition);
    expect(services).toEqual(
      ['spot.amazonaws.com', 'ec2fleet.amazonaws.com'].map((name) => ({
        StringEquals: { 'iam:AWSServiceName': name },
      })),
    );
  });

  it('lets commands and sessions reach, with --launch, instances that nx-ec2 launched', () => {
    expect(granting('ssm:SendCommand')[0].Condition).toEqual({
      StringEquals: { 'ssm:resourceTag/nx-ec2:managed': 'true' },
    });
    expect(granting('ssm:StartSession')[0].Condition).toMatchObject({
      BoolIfExists: { 'ssm:SessionDocumentAccessCheck': 'true' },
    });
  });

  it("grants an action on all resources only if AWS can't limit it to one, and no action by wildcard", () => {
    const all = [...statements('CallerPolicy'), ...statements('LaunchPolicy')];
    for (const action of all.flatMap(({ Action }) => Action)) expect(action).not.toContain('*');
    const onAll = all.filter(({ Resource }) => Resource === '*').flatMap(({ Action }) => Action);
    expect(onAll.length).toBeGreaterThan(0);
    for (const action of onAll) expect(action).toMatch(/:(Get|Describe)/);
  });

  it("limits the roles of the scheduled clean-up and of a fleet's instances by the tag", () => {
    const inline = (name: string) =>
      resources()[name].Properties.Policies as { PolicyName: string; PolicyDocument: { Statement: Statement[] } }[];
    for (const [role, policy] of [
      ['DeadlineRole', 'end'],
      ['InstanceRole', 'recovery'],
    ]) {
      const { Statement } = inline(role).find(({ PolicyName }) => PolicyName === policy)!.PolicyDocument;
      const changing = Statement.filter(({ Action }) =>
        [Action].flat().some((action) => !/:(Describe|GetObject)/.test(action)),
      );
      expect(changing.length).toBeGreaterThan(0);
      for (const { Condition } of changing)
        expect(Condition).toEqual({ StringEquals: { 'aws:ResourceTag/nx-ec2:managed': 'true' } });
    }
  });

  it('has only the statements that the options ask for', () => {
    const plain = Object.keys(resources({}));
    expect(plain).toEqual(['Bucket', 'BucketPolicy', 'InstanceRole', 'InstanceProfile', 'CallerPolicy', 'PrunePolicy']);
    const added = (options: SetupOptions) => Object.keys(resources(options)).filter((name) => !plain.includes(name));
    expect(added({ launch: true })).toEqual(['LaunchPolicy']);
    expect(added({ deadline: true })).toEqual([
      'DeadlineRole',
      'DeadlineAutomation',
      'DeadlineStarter',
      'DeadlineSchedule',
    ]);
    expect(added({ budget: ALL.budget })).toEqual(['Budget']);
    const { endpoints } = ALL;
    const byAddress = ['SsmEndpoint', 'SsmmessagesEndpoint', 'Ec2messagesEndpoint'];
    expect(added({ endpoints })).toEqual(['S3Endpoint', 'EndpointGroup', ...byAddress]);
    expect(added({ endpoints: { ...endpoints!, securityGroups: [] }, recovery: true })).toEqual([
      ...['S3Endpoint', ...byAddress, 'Ec2Endpoint'],
    ]);
    const { nodes } = ALL;
    expect(added({ nodes })).toEqual(['NodesGroup', 'NodesIngress', 'NodesEgress']);
    const group = { Ref: 'NodesGroup' };
    const { NodesIngress, NodesEgress, EndpointGroup } = resources({ nodes, endpoints });
    expect(NodesIngress.Properties).toEqual({ GroupId: group, IpProtocol: '-1', SourceSecurityGroupId: group });
    expect(NodesEgress.Properties).toEqual({ GroupId: group, IpProtocol: '-1', DestinationSecurityGroupId: group });
    expect(EndpointGroup.Properties.SecurityGroupIngress).toContainEqual({
      IpProtocol: 'tcp',
      FromPort: 443,
      ToPort: 443,
      SourceSecurityGroupId: group,
    });
    const rules = (options: SetupOptions) =>
      (resources(options).Bucket.Properties.LifecycleConfiguration as { Rules: { Id: string }[] }).Rules.map(
        ({ Id }) => Id,
      );
    expect([rules({}), rules({ lifecycle: true })]).toEqual([
      ['unfinished-uploads'],
      ['unfinished-uploads', 'old-versions'],
    ]);
    expect(resources({}).InstanceProfile.Properties.InstanceProfileName).toBeUndefined();
    expect(resources().InstanceProfile.Properties.InstanceProfileName).toBe('training');
  });

  it('is within the limits of CloudFormation and IAM', () => {
    expect(JSON.stringify(setupTemplate('acme-training', ALL), null, 2).length).toBeLessThan(51_200);
    // IAM counts a managed policy without its white space; names are longer where they are put in.
    const longest: Record<string, string> = {
      'AWS::Partition': 'aws-us-gov',
      'AWS::Region': 'ap-southeast-2',
      'AWS::AccountId': '123456789012',
    };
    const bucket = `arn:aws-us-gov:s3:::${'b'.repeat(63)}`;
    for (const [name, { Type, Properties }] of Object.entries(resources())) {
      if (Type !== 'AWS::IAM::ManagedPolicy') continue;
      const text = JSON.stringify(Properties.PolicyDocument)
        .replace(/\{"Fn::Sub":("[^"]*")\}/g, '$1')
        .replace(/\{"Fn::GetAtt":\["Bucket","Arn"\]\}/g, `"${bucket}"`)
        .replace(/\$\{Bucket\.Arn\}/g, bucket)
        .replace(
          /\{"Fn::GetAtt":\["InstanceRole","Arn"\]\}/g,
          `"arn:aws-us-gov:iam::123456789012:role/${'r'.repeat(64)}"`,
        )
        .replace(/\$\{([A-Z][^}]*)\}/g, (all, word: string) => longest[word] ?? all);
      expect([name, text.length]).toEqual([name, Math.min(text.length, 6144)]);
    }
  });

  it('accepts only option values that AWS accepts', () => {
    const text = fc.oneof(fc.string({ unit: fc.constantFrom(...'a0-@.+"$\\{} \u00e9\n') }), fc.string());
    fc.assert(
      fc.property(text, text, text, text, fc.double(), (instanceProfile, email, vpc, subnets, budget) => {
        const given = { instanceProfile, email, budget, endpoints: true, vpc, subnets, routeTables: 'rtb-01234567' };
        try {
          const read = readOptions(given);
          expect(read.instanceProfile).toMatch(/^[\w+=,.@-]{1,128}$/);
          expect(read.budget).toEqual({ usd: budget, email });
          expect(read.endpoints!.vpc).toMatch(/^vpc-[0-9a-f]+$/);
        } catch (error) {
          expect(error).toBeInstanceOf(Problem);
        }
      }),
    );
    const { vpc, ...parts } = {
      vpc: 'vpc-01234567',
      subnets: 'subnet-01234567,subnet-12345678',
      routeTables: ['rtb-01234567'],
    };
    expect(readOptions({ endpoints: true, vpc, ...parts }).endpoints).toEqual({
      vpc,
      subnets: ['subnet-01234567', 'subnet-12345678'],
      routeTables: ['rtb-01234567'],
      securityGroups: [],
    });
    expect(() => readOptions({ endpoints: true, ...parts })).toThrow(/--endpoints needs --vpc/);
    expect(readOptions({ nodes: true, vpc })).toMatchObject({ nodes: { vpc }, endpoints: undefined });
    expect(() => readOptions({ nodes: true })).toThrow(/--nodes needs --vpc/);
    expect(() => readOptions({ vpc })).toThrow(/--vpc says nothing without --endpoints/);
    expect(() => readOptions({ budget: 5 })).toThrow(/--budget needs --email/);
    expect(() => readOptions({ email: 'a@b.c' })).toThrow(/--email says nothing without --budget/);
  });
});
