import type { ServiceRequest } from '../protocol/service';

/** The bucket and the key of a request: in its path, or the bucket in its host (`bucket.localhost`, `bucket.s3.localhost`). */
export function address({ path, headers }: Pick<ServiceRequest, 'path' | 'headers'>): { bucket: string; key: string } {
  const host = /^(.+?)(?:\.s3)?\.localhost(?::\d+)?$/.exec(String(headers.host ?? ''))?.[1];
  if (host && host !== 's3') return { bucket: host, key: path.slice(1) };
  const [, bucket, ...rest] = path.split('/');
  return { bucket, key: rest.join('/') };
}

type Asked = Pick<ServiceRequest, 'method' | 'query' | 'headers'>;

/** The permission that a request needs; '' for a form, whose own is looked at with it. Service Authorization Reference, S3. */
export function permission({ method, query }: Asked, bucket: string, key: string): string {
  if (!bucket) return 's3:ListAllMyBuckets';
  return key ? ofObject(method, query) : ofBucket(method, query);
}

function ofBucket(method: string, query: URLSearchParams): string {
  if (method === 'PUT') return 's3:CreateBucket';
  if (method === 'DELETE') return 's3:DeleteBucket';
  if (method === 'POST') return query.has('delete') ? 's3:DeleteObject' : '';
  if (query.has('location')) return 's3:GetBucketLocation';
  return query.has('uploads') ? 's3:ListBucketMultipartUploads' : 's3:ListBucket';
}

function ofObject(method: string, query: URLSearchParams): string {
  if (method === 'DELETE') return query.has('uploadId') ? 's3:AbortMultipartUpload' : 's3:DeleteObject';
  if (method === 'GET' && query.has('uploadId')) return 's3:ListMultipartUploadParts';
  return method === 'GET' || method === 'HEAD' ? 's3:GetObject' : 's3:PutObject';
}

/** All that a request needs: a copy reads too, and a form writes. */
export function permissions(request: Asked, bucket: string, key: string): string[] {
  const copies = request.method === 'PUT' && request.headers['x-amz-copy-source'] !== undefined;
  return [permission(request, bucket, key) || 's3:PutObject', ...(copies ? ['s3:GetObject'] : [])];
}
