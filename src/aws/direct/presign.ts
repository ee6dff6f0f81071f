import { createHmac } from 'node:crypto';
import { sign } from 'aws4';
import { signingDate, type Route } from './http';
import { keyPath } from './objects';

type Place = Pick<Route, 'identity' | 'region' | 'clockOffset' | 'url'> & { bucket: string; pathStyle: boolean };

/** A URL that reads one object. @param lifetime seconds. */
export function presignGet(place: Place, key: string, lifetime: number): string {
  const { url, region, identity, clockOffset } = place;
  const query = new URLSearchParams({
    'X-Amz-Expires': String(lifetime),
    'X-Amz-Date': signingDate(clockOffset),
  });
  const signed = sign(
    {
      service: 's3',
      region,
      method: 'GET',
      host: url.host,
      path: `${bucketPath(place)}${keyPath(key)}?${query.toString()}`,
      signQuery: true,
    },
    identity,
  );
  return `${url.protocol}//${url.host}${signed.path}`;
}

/**
 * A form that uploads objects whose keys begin with a prefix (S3 API reference, "POST policy").
 * @param conditions beside those of bucket, key and `fields`. @param lifetime seconds.
 */
export function presignPost(
  place: Place,
  prefix: string,
  { fields, conditions, lifetime }: { fields: Record<string, string>; conditions: unknown[]; lifetime: number },
): { url: string; fields: Record<string, string> } {
  const { url, region, identity, clockOffset, bucket } = place;
  const date = signingDate(clockOffset);
  const scope = [date.slice(0, 8), region, 's3', 'aws4_request'];
  const all: Record<string, string> = {
    ...fields,
    bucket,
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': [identity.accessKeyId, ...scope].join('/'),
    'X-Amz-Date': date,
    ...(identity.sessionToken ? { 'X-Amz-Security-Token': identity.sessionToken } : {}),
  };
  const expiration = new Date(Date.now() + clockOffset + lifetime * 1000).toISOString();
  const policy = Buffer.from(
    JSON.stringify({
      expiration,
      conditions: [
        ...conditions,
        ...Object.entries(all).map(([name, value]) => ({ [name]: value })),
        ['starts-with', '$key', prefix],
      ],
    }),
  ).toString('base64');
  const hmac = (key: string | Buffer, text: string) => createHmac('sha256', key).update(text).digest();
  const signingKey = scope.reduce<string | Buffer>((key, part) => hmac(key, part), `AWS4${identity.secretAccessKey}`);
  return {
    url: `${url.protocol}//${url.host}${bucketPath(place) || '/'}`,
    fields: {
      ...all,
      key: `${prefix}\${filename}`,
      Policy: policy,
      'X-Amz-Signature': createHmac('sha256', signingKey).update(policy).digest('hex'),
    },
  };
}

function bucketPath({ bucket, pathStyle }: Place): string {
  return pathStyle ? `/${bucket}` : '';
}
