import { ACCOUNT } from '../protocol/identity';
import { escapeXml, type ServiceRequest, type ServiceResponse } from '../protocol/service';
import type { Buckets, StoredObject } from './objects';
import { NAMESPACE, xml } from './xml';

export function listObjects(buckets: Buckets, request: ServiceRequest, bucket: string): ServiceResponse {
  const { query } = request;
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const max = Math.min(1000, Number(query.get('max-keys') ?? 1000));
  const after = query.get('continuation-token') ?? query.get('start-after') ?? query.get('marker') ?? '';
  const prefixes = new Set<string>();
  const found: StoredObject[] = [];
  let truncated = false;
  let last = '';
  for (const object of buckets.list(bucket, after)) {
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
          ({ key, etag, size, modified, headers }) =>
            `<Contents><Key>${name(key)}</Key><LastModified>${new Date(modified).toISOString()}</LastModified><ETag>${escapeXml(etag)}</ETag><Size>${size}</Size><StorageClass>${escapeXml(headers['x-amz-storage-class'] ?? 'STANDARD')}</StorageClass></Contents>`,
        )
        .join('') +
      [...prefixes].map((each) => `<CommonPrefixes><Prefix>${name(each)}</Prefix></CommonPrefixes>`).join('') +
      '</ListBucketResult>',
  );
}

export function listBuckets(buckets: Buckets): ServiceResponse {
  const names = buckets
    .names()
    .map((name) => `<Bucket><Name>${name}</Name><CreationDate>2024-01-01T00:00:00.000Z</CreationDate></Bucket>`);
  return xml(
    `<ListAllMyBucketsResult xmlns="${NAMESPACE}"><Owner><ID>${ACCOUNT}</ID></Owner><Buckets>${names.join('')}</Buckets></ListAllMyBucketsResult>`,
  );
}
