import type { IncomingHttpHeaders } from 'node:http';
import type { Identity } from './identity';

export interface ServiceRequest {
  method: string;
  /** Decoded path, with its leading slash. */
  path: string;
  query: URLSearchParams;
  headers: IncomingHttpHeaders;
  /** The body, decoded from any chunking and verified against its signature and checksums. */
  body: Buffer;
  /** Null for an unsigned request: only a presigned form may come so. */
  identity: Identity | null;
  requestId: string;
}

export interface ServiceResponse {
  status: number;
  headers?: Record<string, string>;
  body?: Buffer | string;
}

/** An error as AWS names it; each service renders it in its own protocol. */
export class AwsError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly status = 400,
    readonly headers: Record<string, string> = {},
  ) {
    super(message);
  }
}

export interface Service {
  handle(request: ServiceRequest): Promise<ServiceResponse>;
  /** How this service's protocol says an error. */
  error(error: AwsError, requestId: string): ServiceResponse;
}

export function escapeXml(text: string): string {
  return text.replace(/[<>&"'\r]/g, (char) => `&#${char.charCodeAt(0)};`);
}
