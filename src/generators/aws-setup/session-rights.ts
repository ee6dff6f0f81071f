import type { Json } from './statements';

/** Documents that the live log and the shell open sessions with. */
const DOCUMENTS = ['AWS-StartNonInteractiveCommand', 'AWS-StartInteractiveCommand'];
const OWN = ['ssm:ResumeSession', 'ssm:TerminateSession'];

/**
 * What a caller needs for sessions: to start one of these documents on a tagged instance, and to end its own. Without
 * the check of documents, leave to start sessions on an instance would be leave to open a shell there.
 * @param tag that instances carry.
 */
export function sessionStatements(tag: string): Json[] {
  const check = { BoolIfExists: { 'ssm:SessionDocumentAccessCheck': 'true' } };
  return [
    {
      Sid: 'SessionDocuments',
      Effect: 'Allow',
      Action: 'ssm:StartSession',
      Resource: DOCUMENTS.map((name) => ({
        'Fn::Sub': `arn:\${AWS::Partition}:ssm:\${AWS::Region}::document/${name}`,
      })),
      Condition: check,
    },
    {
      Sid: 'SessionsOnTaggedInstances',
      Effect: 'Allow',
      Action: 'ssm:StartSession',
      Resource: { 'Fn::Sub': 'arn:${AWS::Partition}:ec2:${AWS::Region}:${AWS::AccountId}:instance/*' },
      Condition: { Null: { [`ssm:resourceTag/${tag}`]: 'false' }, ...check },
    },
    // A session is named by who opened it: a user by name, a role by its session. A variable without a value makes a
    // statement match nothing, so each has its own.
    {
      Sid: 'OwnSessions',
      Effect: 'Allow',
      Action: [...OWN, 'ssmmessages:OpenDataChannel'],
      Resource: sessions('${!aws:userid}-*'),
    },
    {
      Sid: 'OwnSessionsByName',
      Effect: 'Allow',
      Action: [...OWN, 'ssmmessages:OpenDataChannel'],
      Resource: sessions('${!aws:username}-*'),
    },
    {
      Sid: 'OwnSessionsByTag',
      Effect: 'Allow',
      Action: OWN,
      Resource: sessions('*'),
      Condition: { StringLike: { 'ssm:resourceTag/aws:ssmmessages:session-id': '${aws:userid}*' } },
    },
  ];
}

function sessions(name: string): Json {
  return { 'Fn::Sub': `arn:\${AWS::Partition}:ssm:\${AWS::Region}:\${AWS::AccountId}:session/${name}` };
}
