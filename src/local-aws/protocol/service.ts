import type { IncomingHttpHeaders } from 'node:http';
import type { Identity } from './identity';
import type { ChunkSigner } from './signature';
import type { AwsError } from './aws-error';

export interface ServiceRequest {
  method: string;
  /** Decoded path, with its leading slash. */
  path: string;
  query: URLSearchParams;
  headers: IncomingHttpHeaders;
  /** As it came: S3 takes it out of its chunks and checks it. */
  body: Buffer;
  /** Null for an unsigned request: only a presigned form may come so. */
  identity: Identity | null;
  /** For a body in signed chunks. */
  signer?: ChunkSigner;
  /** The region that the request was signed for. */
  region?: string;
  requestId: string;
}

export interface ServiceResponse {
  status: number;
  headers?: Record<string, string>;
  body?: Buffer | string | FileRange;
}

/** A body that is read from a file as it is sent. */
export interface FileRange {
  /** A descriptor, open since the request was handled: a later write under the name is another object. */
  file: number;
  /** The first and the last byte. */
  from: number;
  to: number;
}

export interface Service {
  handle(request: ServiceRequest): Promise<ServiceResponse>;
  /** How this service's protocol says an error. */
  error(error: AwsError, requestId: string): ServiceResponse;
}

export function escapeXml(text: string): string {
  return text.replace(/[<>&"'\r]/g, (char) => `&#${char.charCodeAt(0)};`);
}
