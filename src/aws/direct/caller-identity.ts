import type { Unsigned } from './http';

export interface GetCallerIdentityOutput {
  Arn?: string;
}

/** As STS's query protocol writes it. */
export function callerRequest(): Unsigned {
  return {
    method: 'POST',
    path: '/',
    headers: { 'Content-Type': 'application/x-www-form-urlencoded; charset=utf-8' },
    body: 'Action=GetCallerIdentity&Version=2011-06-15',
  };
}

/** @throws Error where it is no answer of GetCallerIdentity, or has an ARN that XML has to escape. */
export function parseCaller(xml: string): GetCallerIdentityOutput {
  const arn = /<GetCallerIdentityResult>[^]*<Arn>(arn:[^<&]+)<\/Arn>/.exec(xml)?.[1];
  if (arn === undefined) throw new Error('no ARN');
  return { Arn: arn };
}
