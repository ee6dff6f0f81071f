import { createHash } from 'node:crypto';
import { openSync } from 'node:fs';
import { join } from 'node:path';
import { ACCOUNT, allow, type Identities } from '../identity';
import { decodeUri } from '../decode-uri';
import { escapeXml, type Service, type ServiceRequest, type ServiceResponse } from '../service';
import { verifyForm } from '../signature';
import { decodePayload } from './payload';
import { address, permission } from './permission';
import { BUCKET_NAME, Buckets, etagOf, type StoredObject } from './objects';
import { Uploads } from './uploads';
import { AwsError } from '../aws-error';
import { isForm, formHeaders, readForm } from './form';
import { NAMESPACE, xml, parseXml } from './xml';
import { preconditionFailed } from './conditions';
import { KEPT, kept } from './kept-headers';
const SMALLEST_PART = 5 * 1024 * 1024;

/** S3 as facts and the SDK have it, in both styles of address. Objects are on disk; the body of one request is held in memory. */
export class S3Service implements Service {
  readonly buckets: Buckets;
  private readonly uploads: Uploads;

  constructor(
    directory: string,
    private readonly region: string,
    private readonly identities: Identities,
  ) {
    this.buckets = new Buckets(directory);
    this.uploads = new Uploads(join(directory, '.uploads'));
  }

  error(error: AwsError, requestId: string): ServiceResponse {
    return {
      status: error.status,
      headers: { 'content-type': 'application/xml', ...error.headers },
      body: `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${error.code}</Code><Message>${escapeXml(error.message)}</Message><RequestId>${requestId}</RequestId></Error>`,
    };
  }

  async handle(request: ServiceRequest): Promise<ServiceResponse> {
    const { bucket, key } = address(request);
    if (!request.identity && !(bucket && !key && isForm(request)))
      throw new AwsError('AccessDenied', 'Access Denied', 403);
    if (!bucket) return this.listBuckets();
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
    if (method === 'GET' && query.has('uploads')) return this.listUploads(bucket);
    if (method === 'GET') return this.listObjects(request, bucket);
    throw new AwsError('MethodNotAllowed', 'The specified method is not allowed against this resource.', 405);
  }

  private async object(request: ServiceRequest, bucket: string, key: string): Promise<ServiceResponse> {
    const { method, query } = request;
    if (method === 'GET' && query.has('uploadId')) return this.listParts(request, bucket, key);
    if (method === 'GET' || method === 'HEAD') return this.get(request, bucket, key);
    if (method === 'DELETE' && query.has('uploadId')) {
      this.uploads.remove(this.uploads.find(query.get('uploadId')!, bucket, key));
      return { status: 204 };
    }
    if (method === 'DELETE') {
      this.buckets.delete(bucket, key);
      return { status: 204 };
    }
    if (method === 'POST' && query.has('uploads')) return this.createUpload(request, bucket, key);
    if (method === 'POST' && query.has('uploadId')) return this.completeUpload(request, bucket, key);
    if (method === 'PUT' && query.has('uploadId')) return this.putPart(request, bucket, key);
    if (method === 'PUT' && request.headers['x-amz-copy-source']) return this.copy(request, bucket, key);
    if (method === 'PUT') {
      const { body, checksums } = decodePayload(request.headers, request.body, request.signer);
      this.checkConditions(request, this.buckets.head(bucket, key));
      const stored = this.buckets.put(bucket, key, body, {
        contentType: request.headers['content-type'],
        headers: { ...kept(request), ...checksums },
        etag: etagOf(body),
      });
      return { status: 200, headers: { etag: stored.etag, ...stored.headers } };
    }
    throw new AwsError('MethodNotAllowed', 'The specified method is not allowed against this resource.', 405);
  }

  private get(request: ServiceRequest, bucket: string, key: string): ServiceResponse {
    const object = this.buckets.head(bucket, key);
    if (!object) {
      // To whoever may not list, it is not told whether there is one.
      allow(request.identity, 's3:ListBucket');
      throw new AwsError('NoSuchKey', 'The specified key does not exist.', 404);
    }
    if (request.headers['if-match'] && request.headers['if-match'] !== object.etag) throw preconditionFailed();
    const { headers: all, ...about } = object;
    const wanted = request.headers['x-amz-checksum-mode'] === 'ENABLED';
    const own = Object.fromEntries(
      Object.entries(all).filter(([name]) => wanted || !name.startsWith('x-amz-checksum-')),
    );
    const headers: Record<string, string> = {
      ...own,
      etag: about.etag,
      'content-type': about.contentType,
      'last-modified': new Date(about.modified).toUTCString(),
      'accept-ranges': 'bytes',
    };
    if (request.headers['if-none-match'] === object.etag)
      return { status: 304, headers: { etag: about.etag, 'last-modified': headers['last-modified'] } };
    const range = /^bytes=(\d*)-(\d*)$/.exec(String(request.headers.range ?? ''));
    const body = (from: number, to: number) =>
      request.method === 'HEAD' || to < from
        ? undefined
        : { file: openSync(this.buckets.file(bucket, key), 'r'), from, to };
    if (!range)
      return {
        status: 200,
        headers: { ...headers, 'content-length': String(object.size) },
        body: body(0, object.size - 1),
      };
    const from = range[1] ? Number(range[1]) : Math.max(0, object.size - Number(range[2]));
    const to = range[1] && range[2] ? Math.min(Number(range[2]), object.size - 1) : object.size - 1;
    if (from > to) throw new AwsError('InvalidRange', 'The requested range is not satisfiable', 416);
    for (const name of Object.keys(headers)) if (name.startsWith('x-amz-checksum-')) delete headers[name];
    return {
      status: 206,
      headers: {
        ...headers,
        'content-length': String(to - from + 1),
        'content-range': `bytes ${from}-${to}/${object.size}`,
      },
      body: body(from, to),
    };
  }

  /** Refuses a write whose condition does not hold now. */
  checkWrite(request: ServiceRequest): void {
    const { bucket, key } = address(request);
    if (bucket && key) this.checkConditions(request, this.buckets.head(bucket, key));
  }

  private checkConditions(request: ServiceRequest, existing: StoredObject | null): void {
    if (request.headers['if-none-match'] === '*' && existing) throw preconditionFailed();
    const match = request.headers['if-match'];
    if (match && !existing) throw new AwsError('NoSuchKey', 'The specified key does not exist.', 404);
    if (match && existing!.etag !== match) throw preconditionFailed();
  }

  private copy(request: ServiceRequest, bucket: string, key: string): ServiceResponse {
    const source = decodeUri(String(request.headers['x-amz-copy-source']).split('?')[0]).replace(/^\//, '');
    const [from, ...rest] = source.split('/');
    const object = this.buckets.exists(from) ? this.buckets.head(from, rest.join('/')) : null;
    if (!object) throw new AwsError('NoSuchKey', 'The specified key does not exist.', 404);
    this.checkConditions(request, this.buckets.head(bucket, key));
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

  private createUpload(request: ServiceRequest, bucket: string, key: string): ServiceResponse {
    const { id } = this.uploads.create({
      bucket,
      key,
      contentType: request.headers['content-type'],
      headers: kept(request),
    });
    return xml(
      `<InitiateMultipartUploadResult xmlns="${NAMESPACE}"><Bucket>${bucket}</Bucket><Key>${escapeXml(key)}</Key><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
    );
  }

  private putPart(request: ServiceRequest, bucket: string, key: string): ServiceResponse {
    const upload = this.uploads.find(request.query.get('uploadId')!, bucket, key);
    const number = Number(request.query.get('partNumber'));
    if (!(Number.isInteger(number) && number >= 1 && number <= 10_000))
      throw new AwsError('InvalidArgument', 'Part number must be an integer between 1 and 10000, inclusive');
    const { body, checksums } = decodePayload(request.headers, request.body, request.signer);
    return { status: 200, headers: { etag: this.uploads.put(upload, number, body), ...checksums } };
  }

  private listParts(request: ServiceRequest, bucket: string, key: string): ServiceResponse {
    const upload = this.uploads.find(request.query.get('uploadId')!, bucket, key);
    const parts = this.uploads
      .parts(upload)
      .map(
        ({ number, etag, size }) =>
          `<Part><PartNumber>${number}</PartNumber><ETag>${escapeXml(etag)}</ETag><Size>${size}</Size><LastModified>${new Date(upload.initiated).toISOString()}</LastModified></Part>`,
      );
    return xml(
      `<ListPartsResult xmlns="${NAMESPACE}"><Bucket>${bucket}</Bucket><Key>${escapeXml(key)}</Key><UploadId>${upload.id}</UploadId><IsTruncated>false</IsTruncated>${parts.join('')}</ListPartsResult>`,
    );
  }

  private listUploads(bucket: string): ServiceResponse {
    const uploads = this.uploads
      .all(bucket)
      .map(
        ({ key, id, initiated }) =>
          `<Upload><Key>${escapeXml(key)}</Key><UploadId>${id}</UploadId><Initiated>${new Date(initiated).toISOString()}</Initiated><StorageClass>STANDARD</StorageClass></Upload>`,
      );
    return xml(
      `<ListMultipartUploadsResult xmlns="${NAMESPACE}"><Bucket>${bucket}</Bucket><IsTruncated>false</IsTruncated>${uploads.join('')}</ListMultipartUploadsResult>`,
    );
  }

  private completeUpload(request: ServiceRequest, bucket: string, key: string): ServiceResponse {
    const upload = this.uploads.find(request.query.get('uploadId')!, bucket, key);
    const there = new Map(this.uploads.parts(upload).map((part) => [part.number, part]));
    const parsed = parseXml(request.body) as {
      CompleteMultipartUpload?: {
        Part?: { PartNumber: number; ETag: string } | { PartNumber: number; ETag: string }[];
      };
    };
    const listed = [parsed.CompleteMultipartUpload?.Part ?? []].flat();
    const parts = listed.map(({ PartNumber, ETag }, index) => {
      const part = there.get(Number(PartNumber));
      if (!part || part.etag.replace(/"/g, '') !== String(ETag).replace(/"|&quot;/g, ''))
        throw new AwsError('InvalidPart', 'One or more of the specified parts could not be found.');
      if (index && Number(PartNumber) <= Number(listed[index - 1].PartNumber))
        throw new AwsError('InvalidPartOrder', 'The list of parts was not in ascending order.');
      if (index < listed.length - 1 && part.size < SMALLEST_PART)
        throw new AwsError('EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size');
      return part;
    });
    if (!parts.length) throw new AwsError('MalformedXML', 'The XML you provided was not well-formed');
    this.checkConditions(request, this.buckets.head(bucket, key));
    const digests = Buffer.concat(parts.map(({ etag }) => Buffer.from(etag.replace(/"/g, ''), 'hex')));
    const etag = `"${createHash('md5').update(digests).digest('hex')}-${parts.length}"`;
    this.buckets.put(
      bucket,
      key,
      { files: parts.map(({ file }) => file) },
      {
        contentType: upload.contentType,
        headers: upload.headers,
        etag,
      },
    );
    this.uploads.remove(upload);
    return xml(
      `<CompleteMultipartUploadResult xmlns="${NAMESPACE}"><Bucket>${bucket}</Bucket><Key>${escapeXml(key)}</Key><ETag>${escapeXml(etag)}</ETag></CompleteMultipartUploadResult>`,
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

  private listObjects(request: ServiceRequest, bucket: string): ServiceResponse {
    const { query } = request;
    const prefix = query.get('prefix') ?? '';
    const delimiter = query.get('delimiter') ?? '';
    const max = Math.min(1000, Number(query.get('max-keys') ?? 1000));
    const after = query.get('continuation-token') ?? query.get('start-after') ?? query.get('marker') ?? '';
    const prefixes = new Set<string>();
    const found: StoredObject[] = [];
    let truncated = false;
    let last = '';
    for (const object of this.buckets.list(bucket, after)) {
      if (!object.key.startsWith(prefix)) continue;
      const end = delimiter ? object.key.indexOf(delimiter, prefix.length) : -1;
      const common = end >= 0 ? object.key.slice(0, end + delimiter.length) : '';
      // A page that ended in a common prefix is followed by what comes after all of its keys.
      if (common && (prefixes.has(common) || common === query.get('continuation-token'))) continue;
      if (found.length + prefixes.size >= max) {
        truncated = true;
        break;
      }
      last = common || object.key;
      if (common) prefixes.add(common);
      else found.push(object);
    }
    const url = query.get('encoding-type') === 'url';
    const name = (text: string) => (url ? encodeURIComponent(text).replace(/%2F/g, '/') : escapeXml(text));
    return xml(
      `<ListBucketResult xmlns="${NAMESPACE}"><Name>${bucket}</Name><Prefix>${name(prefix)}</Prefix><KeyCount>${found.length + prefixes.size}</KeyCount><MaxKeys>${max}</MaxKeys>` +
        `${url ? '<EncodingType>url</EncodingType>' : ''}<IsTruncated>${truncated}</IsTruncated>${truncated ? `<NextContinuationToken>${escapeXml(last)}</NextContinuationToken>` : ''}` +
        found
          .map(
            ({ key, etag, size, modified }) =>
              `<Contents><Key>${name(key)}</Key><LastModified>${new Date(modified).toISOString()}</LastModified><ETag>${escapeXml(etag)}</ETag><Size>${size}</Size><StorageClass>STANDARD</StorageClass></Contents>`,
          )
          .join('') +
        [...prefixes].map((each) => `<CommonPrefixes><Prefix>${name(each)}</Prefix></CommonPrefixes>`).join('') +
        '</ListBucketResult>',
    );
  }

  private listBuckets(): ServiceResponse {
    const names = this.buckets
      .names()
      .map((name) => `<Bucket><Name>${name}</Name><CreationDate>2024-01-01T00:00:00.000Z</CreationDate></Bucket>`);
    return xml(
      `<ListAllMyBucketsResult xmlns="${NAMESPACE}"><Owner><ID>${ACCOUNT}</ID></Owner><Buckets>${names.join('')}</Buckets></ListAllMyBucketsResult>`,
    );
  }
}
