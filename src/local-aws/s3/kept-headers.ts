import type { ServiceRequest } from '../protocol/service';

/** Request headers that come back with the object. */
export const KEPT = /^(x-amz-meta-|x-amz-server-side-encryption|content-encoding|cache-control|content-disposition)/;

export function kept(request: ServiceRequest): Record<string, string> {
  return Object.fromEntries(
    Object.entries(request.headers).flatMap(([name, value]) =>
      KEPT.test(name) && value !== 'aws-chunked' ? [[name, String(value)]] : [],
    ),
  );
}
