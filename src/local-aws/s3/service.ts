import { join } from 'node:path';
import { ACCOUNT, allow, type Identities } from '../protocol/identity';
import { decodeUri } from '../protocol/decode-uri';
import { escapeXml, type Service, type ServiceRequest, type ServiceResponse } from '../protocol/service';
import { verifyForm } from '../protocol/signature';
import { decodePayload } from './payload';
import { address, permission } from './permission';
import { BUCKET_NAME, Buckets, etagOf } from './objects';
import { Uploads } from './uploads';
import { AwsError } from '../protocol/aws-error';
import { isForm, formHeaders, readForm } from './form';
import { NAMESPACE, xml, parseXml } from './xml';
import { checkConditions } from './conditions';
import { getObject } from './get-object';
import { listBuckets, listObjects } from './listing';
import { MultipartUploads } from './multipart';
import { KEPT, kept } from './kept-headers';
import { assertEnabled } from './readable';

/** S3 as facts and the SDK have it, in both styles of address. Objects are on disk; the body of one request is held in memory. */
export class S3Service implements Service {
  readonly buckets: Buckets;
  /** KMS keys by their ARNs. Of the keys of other accounts, callers may use none to read. */
  readonly disabledKeys = new Set<string>();
  private readonly multipart: MultipartUploads;

  constructor(
    directory: string,
    private readonly region: string,
    private readonly identities: Identities,
  ) {
    this.buckets = new Buckets(directory);
    this.multipart = new MultipartUploads(this.buckets, new Uploads(join(directory, '.uploads')));
  }

  error(error: AwsError, requestId: string): ServiceResponse {
    const elements = Object.entries({ Code: error.code, Message: error.message, ...error.elements });
    const body = elements.map(([name, text]) => `<${name}>${escapeXml(text)}</${name}>`).join('');
    return {
      status: error.status,
      headers: { 'content-type': 'application/xml', ...error.headers },
      body: `<?xml version="1.0" encoding="UTF-8"?>\n<Error>${body}<RequestId>${requestId}</RequestId></Error>`,
    };
  }

  async handle(request: ServiceRequest): Promise<ServiceResponse> {
    const { bucket, key } = address(request);
    if (!request.identity && !(bucket && !key && isForm(request)))
      throw new AwsError('AccessDenied', 'Access Denied', 403);
    if (!bucket) return listBuckets(this.buckets);
    const owner = request.headers['x-amz-expected-bucket-owner'];
    if (request.region && request.region !== this.region)
      throw new AwsError(
        'AuthorizationHeaderMalformed',
        `The authorization header is malformed; the region '${request.region}' is wrong; expecting '${this.region}'`,
        400,
        { 'x-amz-bucket-region': this.region },
      );
    if (request.method === 'PUT' && !key) {
      if (!BUCKET_NAME.test(bucket)) throw new AwsError('InvalidBucketName', 'The specified bucket is not valid.');
      if (this.buckets.exists(bucket))
        throw new AwsError(
          'BucketAlreadyOwnedByYou',
          'Your previous request to create the named bucket succeeded and you already own it.',
          409,
        );
      this.buckets.create(bucket);
      return { status: 200, headers: { location: `/${bucket}` } };
    }
    if (!this.buckets.exists(bucket)) throw new AwsError('NoSuchBucket', 'The specified bucket does not exist', 404);
    if (owner && owner !== ACCOUNT) throw new AwsError('AccessDenied', 'Access Denied', 403);
    allow(request.identity, permission(request, bucket, key));
    return key ? this.object(request, bucket, key) : this.bucket(request, bucket);
  }

  private bucket(request: ServiceRequest, bucket: string): ServiceResponse {
    const { method, query } = request;
    if (method === 'HEAD') return { status: 200, headers: { 'x-amz-bucket-region': this.region } };
    if (isForm(request)) return this.form(request, bucket);
    if (method === 'POST' && query.has('delete')) return this.deleteObjects(request, bucket);
    if (method === 'DELETE') {
      if (this.buckets.list(bucket).length)
        throw new AwsError('BucketNotEmpty', 'The bucket you tried to delete is not empty', 409);
      this.buckets.remove(bucket);
      return { status: 204 };
    }
    if (method === 'GET' && query.has('location'))
      return xml(`<LocationConstraint xmlns="${NAMESPACE}">${this.region}</LocationConstraint>`);
    if (method === 'GET' && query.has('uploads')) return this.multipart.list(bucket);
    if (method === 'GET') return listObjects(this.buckets, request, bucket);
    throw new AwsError('MethodNotAllowed', 'The specified method is not allowed against this resource.', 405);
  }

  private async object(request: ServiceRequest, bucket: string, key: string): Promise<ServiceResponse> {
    const { method, query } = request;
    if (method === 'GET' && query.has('uploadId')) return this.multipart.listParts(request, bucket, key);
    if (method === 'GET' || method === 'HEAD')
      return getObject(this.buckets, request, { bucket, key }, this.disabledKeys);
    if (method === 'DELETE' && query.has('uploadId')) return this.multipart.abort(request, bucket, key);
    if (method === 'DELETE') {
      this.buckets.delete(bucket, key);
      return { status: 204 };
    }
    if (method === 'POST' && query.has('uploads')) return this.multipart.create(request, bucket, key);
    if (method === 'POST' && query.has('uploadId')) return this.multipart.complete(request, bucket, key);
    if (method === 'PUT' && query.has('uploadId')) return this.multipart.putPart(request, bucket, key);
    if (method === 'PUT' && request.headers['x-amz-copy-source']) return this.copy(request, bucket, key);
    if (method === 'PUT') {
      const { body, checksums } = decodePayload(request.headers, request.body, request.signer);
      checkConditions(request, this.buckets.head(bucket, key));
      assertEnabled(String(request.headers['x-amz-server-side-encryption-aws-kms-key-id']), this.disabledKeys);
      const stored = this.buckets.put(bucket, key, body, {
        contentType: request.headers['content-type'],
        headers: { ...kept(request), ...checksums },
        etag: etagOf(body),
      });
      return { status: 200, headers: { etag: stored.etag, ...stored.headers } };
    }
    throw new AwsError('MethodNotAllowed', 'The specified method is not allowed against this resource.', 405);
  }

  /** Refuses a write whose condition does not hold now. */
  checkWrite(request: ServiceRequest): void {
    const { bucket, key } = address(request);
    if (bucket && key) checkConditions(request, this.buckets.head(bucket, key));
  }

  private copy(request: ServiceRequest, bucket: string, key: string): ServiceResponse {
    const source = decodeUri(String(request.headers['x-amz-copy-source']).split('?')[0]).replace(/^\//, '');
    const [from, ...rest] = source.split('/');
    const object = this.buckets.exists(from) ? this.buckets.head(from, rest.join('/')) : null;
    if (!object) throw new AwsError('NoSuchKey', 'The specified key does not exist.', 404);
    checkConditions(request, this.buckets.head(bucket, key));
    const replaced = request.headers['x-amz-metadata-directive'] === 'REPLACE';
    const copied = this.buckets.put(
      bucket,
      key,
      { files: [this.buckets.file(from, object.key)] },
      {
        contentType: replaced ? request.headers['content-type'] : object.contentType,
        headers: replaced ? kept(request) : object.headers,
        etag: object.etag,
      },
    );
    return xml(
      `<CopyObjectResult xmlns="${NAMESPACE}"><LastModified>${new Date(copied.modified).toISOString()}</LastModified><ETag>${escapeXml(copied.etag)}</ETag></CopyObjectResult>`,
    );
  }

  private form(request: ServiceRequest, bucket: string): ServiceResponse {
    const boundary = /boundary=("?)([^";]+)\1/.exec(String(request.headers['content-type'] ?? ''))?.[2];
    if (!boundary)
      throw new AwsError('PreconditionFailed', 'Bucket POST must be of the enclosure-type multipart/form-data', 412);
    const { fields, file } = readForm(request.body, boundary);
    // A form says itself who has signed it.
    request.identity = verifyForm(fields, bucket, this.identities, file.length, Date.now());
    allow(request.identity, 's3:PutObject');
    const key = fields.get('key')!;
    const { checksums } = decodePayload(formHeaders(fields), file);
    const headers = { ...Object.fromEntries([...fields].filter(([name]) => KEPT.test(name))), ...checksums };
    const stored = this.buckets.put(bucket, key, file, {
      contentType: fields.get('content-type'),
      headers,
      etag: etagOf(file),
    });
    return { status: 204, headers: { etag: stored.etag } };
  }

  private deleteObjects(request: ServiceRequest, bucket: string): ServiceResponse {
    const { body } = decodePayload(request.headers, request.body, request.signer);
    const parsed = parseXml(body) as { Delete?: { Object?: { Key: string } | { Key: string }[] } };
    const keys = [parsed.Delete?.Object ?? []].flat().map(({ Key }) => String(Key));
    for (const key of keys) this.buckets.delete(bucket, key);
    return xml(
      `<DeleteResult xmlns="${NAMESPACE}">${keys.map((key) => `<Deleted><Key>${escapeXml(key)}</Key></Deleted>`).join('')}</DeleteResult>`,
    );
  }
}
