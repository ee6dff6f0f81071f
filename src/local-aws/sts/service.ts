import { ACCOUNT } from '../identity';
import { queryError } from '../query-protocol';
import { AwsError, type Service, type ServiceRequest, type ServiceResponse } from '../service';

const NAMESPACE = 'https://sts.amazonaws.com/doc/2011-06-15/';

export class StsService implements Service {
  error(error: AwsError, requestId: string): ServiceResponse {
    return queryError(error, requestId, NAMESPACE);
  }

  async handle(request: ServiceRequest): Promise<ServiceResponse> {
    const action = new URLSearchParams(request.body.toString()).get('Action') ?? '';
    if (action !== 'GetCallerIdentity')
      throw new AwsError('InvalidAction', `Local AWS does not know the action ${action}.`);
    const { arn, accessKeyId } = request.identity!;
    return {
      status: 200,
      headers: { 'content-type': 'text/xml' },
      body: `<GetCallerIdentityResponse xmlns="${NAMESPACE}"><GetCallerIdentityResult><Arn>${arn}</Arn><UserId>${accessKeyId}</UserId><Account>${ACCOUNT}</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>${request.requestId}</RequestId></ResponseMetadata></GetCallerIdentityResponse>`,
    };
  }
}
