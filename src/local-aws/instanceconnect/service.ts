import type { Instances } from '../instance/instances';
import { AwsError } from '../protocol/aws-error';
import { answerJson, jsonError, type Json } from '../protocol/json-protocol';
import type { Service, ServiceRequest, ServiceResponse } from '../protocol/service';
import type { ActiveKeys } from './active-keys';

/** As the service's model has them. */
const INSTANCE_ID = /^i-[a-f0-9]+$/;
const ZONE = /^(\w+-){2,3}\d+\w+$/;
const USER = /^[A-Za-z_][A-Za-z0-9@._-]{0,30}[A-Za-z0-9$_-]?$/;
/** RSA and ED25519, by the service's documentation. */
const PUBLIC_KEY = /^(ssh-rsa|ssh-ed25519) [A-Za-z0-9+/]+={0,2}( [^\r\n]*)?\s*$/;
const MAX_KEY_LENGTH = 4096;

/** EC2 Instance Connect: JSON 1.1. */
export class InstanceConnectService implements Service {
  constructor(
    private readonly instances: Instances,
    private readonly keys: ActiveKeys,
  ) {}

  error(error: AwsError, requestId: string): ServiceResponse {
    return jsonError(error, requestId);
  }

  async handle(request: ServiceRequest): Promise<ServiceResponse> {
    return answerJson({ SendSSHPublicKey: (input) => this.send(input, request.requestId) }, request);
  }

  private send({ InstanceId, InstanceOSUser, SSHPublicKey, AvailabilityZone }: Json, requestId: string): Json {
    const [id, user, key] = [InstanceId, InstanceOSUser, SSHPublicKey].map((value) => String(value ?? ''));
    if (!INSTANCE_ID.test(id)) throw invalid('InstanceId');
    if (!USER.test(user)) throw invalid('InstanceOSUser');
    if (!PUBLIC_KEY.test(key) || key.length > MAX_KEY_LENGTH) throw invalid('SSHPublicKey');
    if (AvailabilityZone !== undefined && !ZONE.test(String(AvailabilityZone))) throw invalid('AvailabilityZone');
    const instance = this.instances.seen().find((each) => each.id === id);
    if (!instance || (AvailabilityZone !== undefined && AvailabilityZone !== instance.zone))
      throw new AwsError('EC2InstanceNotFoundException', 'Instance not found.');
    if (this.instances.state(instance) !== 'running')
      throw new AwsError('EC2InstanceStateInvalidException', 'Instance is not in a valid state.');
    this.keys.add(id, user, key.trim());
    return { RequestId: requestId, Success: true };
  }
}

function invalid(name: string): AwsError {
  return new AwsError('InvalidArgsException', `${name} is not valid.`);
}
