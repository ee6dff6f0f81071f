import { createHash } from 'node:crypto';
import { AwsError } from '../protocol/aws-error';
import { escapeXml, type ServiceRequest, type ServiceResponse } from '../protocol/service';
import { checkConditions } from './conditions';
import { kept } from './kept-headers';
import type { Buckets } from './objects';
import { decodePayload } from './payload';
import type { Uploads } from './uploads';
import { NAMESPACE, parseXml, xml } from './xml';

/** But for the last one. */
const MIN_PART_BYTES = 5 * 1024 * 1024;

/** The requests of multipart uploads. */
export class MultipartUploads {
  constructor(
    private readonly buckets: Buckets,
    private readonly uploads: Uploads,
  ) {}

  abort({ query }: ServiceRequest, bucket: string, key: string): ServiceResponse {
    this.uploads.remove(this.uploads.find(query.get('uploadId')!, bucket, key));
    return { status: 204 };
  }

  create(request: ServiceRequest, bucket: string, key: string): ServiceResponse {
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

  putPart(request: ServiceRequest, bucket: string, key: string): ServiceResponse {
    const upload = this.uploads.find(request.query.get('uploadId')!, bucket, key);
    const number = Number(request.query.get('partNumber'));
    if (!(Number.isInteger(number) && number >= 1 && number <= 10_000))
      throw new AwsError('InvalidArgument', 'Part number must be an integer between 1 and 10000, inclusive');
    const { body, checksums } = decodePayload(request.headers, request.body, request.signer);
    return { status: 200, headers: { etag: this.uploads.put(upload, number, body), ...checksums } };
  }

  listParts(request: ServiceRequest, bucket: string, key: string): ServiceResponse {
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

  list(bucket: string): ServiceResponse {
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

  complete(request: ServiceRequest, bucket: string, key: string): ServiceResponse {
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
      if (index < listed.length - 1 && part.size < MIN_PART_BYTES)
        throw new AwsError('EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size');
      return part;
    });
    if (!parts.length) throw new AwsError('MalformedXML', 'The XML you provided was not well-formed');
    checkConditions(request, this.buckets.head(bucket, key));
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
}
