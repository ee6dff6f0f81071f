/** What a statement's resources and conditions are written in: CloudFormation's `Fn::Sub` (`${!x}` is IAM's own variable). */
export type Condition = Record<string, Record<string, string | string[]>>;

/** One statement that allows something: the template of aws-setup, docs/reference/iam.md and the doctor have it from here. */
export interface Statement {
  Sid: string;
  Action: string[];
  /** `*` for what can't be limited. */
  Resource: '*' | string[];
  Condition?: Condition;
  /** What that is, in words. */
  on: string;
  /** The template has it only where this parameter of its is set, or with `!` only where it is not. */
  where?: 'KmsKeyArn' | 'DataArns' | 'Prefix' | '!Prefix';
}

/** The tag whose presence makes an instance that is not made by nx-ec2 one that commands may be sent to. */
export const INSTANCE_TAG = 'nx-ec2';
/** The tag of all that nx-ec2 makes in EC2, and its value: docs/reference/formats.md, "Tags". */
export const MANAGED_TAG = 'nx-ec2:managed';

/** A resource of this account and region. */
export function own(service: string, resource: string): string {
  return `arn:\${AWS::Partition}:${service}:\${AWS::Region}:\${AWS::AccountId}:${resource}`;
}

/** Resources of EC2, by their types. */
export function ec2(...types: string[]): string[] {
  return types.map((type) => own('ec2', `${type}/*`));
}

/** Keys of the store below the template's prefix, which is any by default (`*`). */
export function storeKeys(...names: string[]): string[] {
  return names.map((name) => `\${Prefix}v2/${name}`);
}

/** The objects with these keys. */
export function stored(...names: string[]): string[] {
  return storeKeys(...names).map((key) => `\${Bucket.Arn}/${key}`);
}

/** Condition: what is made carries our tag from the start. */
export const TAGGED_ON_CREATE: Condition = { StringEquals: { [`aws:RequestTag/${MANAGED_TAG}`]: 'true' } };
/** Condition: what is there carries it. */
export const OURS: Condition = { StringEquals: { [`aws:ResourceTag/${MANAGED_TAG}`]: 'true' } };
/** The same, as Systems Manager asks for it. */
export const OURS_BY_SSM: Condition = { StringEquals: { [`ssm:resourceTag/${MANAGED_TAG}`]: 'true' } };

/** Where a statement is to hold; what is not known is a wildcard, or a word in its place. */
export interface Where {
  partition?: string;
  region?: string;
  account?: string;
  bucket?: string;
  /** Of the store in its bucket, '' for the bucket's root; absent: any. */
  prefix?: string;
}

/** A statement as IAM takes it. @param action the only one that is wanted. */
export function concrete(statement: Statement, where: Where, action?: string): Record<string, unknown> {
  const { partition = 'aws', region = '*', account = '*', bucket = 'BUCKET', prefix } = where;
  const known: Record<string, string> = {
    'AWS::Partition': partition,
    'AWS::Region': region,
    'AWS::AccountId': account,
    'AWS::URLSuffix': partition === 'aws-cn' ? 'amazonaws.com.cn' : 'amazonaws.com',
    Bucket: bucket,
    'Bucket.Arn': `arn:${partition}:s3:::${bucket}`,
    'InstanceRole.Arn': `arn:${partition}:iam::${account}:role/ROLE-OF-THE-INSTANCE-PROFILE`,
    KmsKeyArn: 'ARN-OF-THE-KEY',
    DataArns: 'ARN-OF-THE-DATA',
    SecretPrefix: 'nx-ec2',
    Prefix: prefix === undefined ? '*' : prefix.replace(/([^/])$/, '$1/'),
  };
  const fill = (text: string) =>
    text.replace(/\$\{(!?)([^}]+)\}/g, (all, literal: string, name: string) =>
      literal ? `\${${name}}` : (known[name] ?? all),
    );
  const { Action, Resource, Condition } = statement;
  const conditions =
    Condition && JSON.parse(JSON.stringify(Condition), (_, value) => (typeof value === 'string' ? fill(value) : value));
  return {
    Effect: 'Allow',
    Action: action ?? Action,
    Resource: Resource === '*' ? '*' : Resource.length === 1 ? fill(Resource[0]) : Resource.map(fill),
    ...(conditions ? { Condition: conditions } : {}),
  };
}
