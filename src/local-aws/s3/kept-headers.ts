import type { ServiceRequest } from '../protocol/service';

/** Request headers that come back with the object: of a key that S3 does not keep, only its hash. */
export const KEPT =
  /^(x-amz-meta-|x-amz-server-side-encryption(?!-customer-key$)|x-amz-storage-class$|content-encoding|cache-control|content-disposition)/;

export function kept(request: ServiceRequest): Record<string, string> {
  return Object.fromEntries(
    Object.entries(request.headers).flatMap(([name, value]) =>
      KEPT.test(name) && value !== 'aws-chunked' ? [[name, String(value)]] : [],
    ),
  );
}
