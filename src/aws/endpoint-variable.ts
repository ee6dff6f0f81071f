import { withoutCredentials } from '../report/url-credentials';
import { assertAddress } from './address';

/** What the SDK calls a service in the name of its variable, where that is not our name in capitals. */
const NAMES: Record<string, string> = {
  secretsmanager: 'SECRETS_MANAGER',
  servicequotas: 'SERVICE_QUOTAS',
  'ec2-instance-connect': 'EC2_INSTANCE_CONNECT',
};

/** The variable of the environment that sets another endpoint for a service than AWS's; undefined if none does. */
export function endpointVariable(service: string): string | undefined {
  if (process.env.AWS_IGNORE_CONFIGURED_ENDPOINT_URLS === 'true') return undefined;
  const own = `AWS_ENDPOINT_URL_${NAMES[service] ?? service.toUpperCase()}`;
  return [own, 'AWS_ENDPOINT_URL'].find((name) => process.env[name]);
}

/** The endpoint that the environment sets in AWS's place, by the SDK's own variable names; without credentials, of which the SDK sends none. */
export function customEndpoint(service: string): string | undefined {
  const name = endpointVariable(service);
  return name && withoutCredentials(process.env[name]!);
}

/** The same. Throws a `Problem` where the variable's value is no address. */
export function validEndpoint(service: string): string | undefined {
  const name = endpointVariable(service);
  if (name) assertAddress(name, process.env[name]!, ['http:', 'https:']);
  return customEndpoint(service);
}
