import { ACCOUNT, type Identities } from '../protocol/identity';
import { queryError } from '../protocol/query-protocol';
import { escapeXml, type Service, type ServiceRequest, type ServiceResponse } from '../protocol/service';
import { AwsError } from '../protocol/aws-error';

const NAMESPACE = 'https://sts.amazonaws.com/doc/2011-06-15/';

export class StsService implements Service {
  constructor(private readonly identities: Identities) {}

  error(error: AwsError, requestId: string): ServiceResponse {
    return queryError(error, requestId, NAMESPACE);
  }

  async handle(request: ServiceRequest): Promise<ServiceResponse> {
    const form = new URLSearchParams(request.body.toString());
    const action = form.get('Action') ?? '';
    return {
      status: 200,
      headers: { 'content-type': 'text/xml' },
      body: `<${action}Response xmlns="${NAMESPACE}"><${action}Result>${this.act(action, form, request)}</${action}Result><ResponseMetadata><RequestId>${request.requestId}</RequestId></ResponseMetadata></${action}Response>`,
    };
  }

  private act(action: string, form: URLSearchParams, request: ServiceRequest): string {
    if (action === 'GetCallerIdentity') {
      const { arn, accessKeyId } = request.identity!;
      return `<Arn>${escapeXml(arn)}</Arn><UserId>${accessKeyId}</UserId><Account>${ACCOUNT}</Account>`;
    }
    if (action === 'AssumeRole') return this.assumeRole(form);
    throw new AwsError('InvalidAction', `Local AWS does not know the action ${action}.`);
  }

  /** Any role of any account can be assumed: local AWS knows no trust policies. */
  private assumeRole(form: URLSearchParams): string {
    const role = form.get('RoleArn') ?? '';
    const name = form.get('RoleSessionName') ?? '';
    const seconds = Number(form.get('DurationSeconds') ?? 3600);
    if (!/^arn:[^:]*:iam::\d{12}:role\/.+$/.test(role)) throw new AwsError('ValidationError', `${role} is invalid`);
    if (!/^[\w+=,.@-]{2,64}$/.test(name)) throw new AwsError('ValidationError', 'RoleSessionName is invalid');
    if (!(seconds >= 900 && seconds <= 43_200))
      throw new AwsError('ValidationError', 'DurationSeconds must be between 900 and 43200');
    const { accessKeyId, secretAccessKey, session, arn } = this.identities.assume(role, name, seconds);
    return (
      `<Credentials><AccessKeyId>${accessKeyId}</AccessKeyId><SecretAccessKey>${secretAccessKey}</SecretAccessKey><SessionToken>${session.token}</SessionToken><Expiration>${new Date(session.expires).toISOString()}</Expiration></Credentials>` +
      `<AssumedRoleUser><Arn>${escapeXml(arn)}</Arn><AssumedRoleId>${accessKeyId}:${escapeXml(name)}</AssumedRoleId></AssumedRoleUser>`
    );
  }
}
