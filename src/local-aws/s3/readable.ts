import { AwsError } from '../protocol/aws-error';
import { ACCOUNT } from '../protocol/identity';
import type { ServiceRequest } from '../protocol/service';
import type { StoredObject } from './objects';

const ARCHIVED = ['GLACIER', 'DEEP_ARCHIVE'];
const ENCRYPTION = 'x-amz-server-side-encryption';
const CUSTOMER_KEY_MD5 = `${ENCRYPTION}-customer-key-md5`;

/**
 * Rejects a GET or HEAD of an object that S3 has and does not hand out: it is archived, or encrypted with a key that the
 * request does not bring, or that the caller can't use. HEAD of an archived object is answered, as of one with a KMS key
 * as long as its checksum is not asked for.
 * @param disabledKeys KMS keys by their ARNs.
 */
export function assertReadable(request: ServiceRequest, object: StoredObject, disabledKeys: ReadonlySet<string>): void {
  const { headers } = object;
  const isHead = request.method === 'HEAD';
  if (headers[CUSTOMER_KEY_MD5] && request.headers[CUSTOMER_KEY_MD5] !== headers[CUSTOMER_KEY_MD5])
    throw new AwsError(
      'InvalidRequest',
      'The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.',
    );
  if (!isHead && ARCHIVED.includes(headers['x-amz-storage-class']))
    throw new AwsError('InvalidObjectState', "The operation is not valid for the object's storage class", 403);
  if (isHead && request.headers['x-amz-checksum-mode'] !== 'ENABLED') return;
  if (headers[ENCRYPTION] !== 'aws:kms') return;
  const key = headers[`${ENCRYPTION}-aws-kms-key-id`] ?? '';
  assertEnabled(key, disabledKeys);
  const [, , , , account = ACCOUNT] = key.split(':');
  const { identity } = request;
  if (account === ACCOUNT && !identity?.deny?.includes('kms:Decrypt')) return;
  throw new AwsError(
    'AccessDenied',
    `User: ${identity?.arn} is not authorized to perform: kms:Decrypt on resource: ${key} because no ${account === ACCOUNT ? 'identity' : 'resource'}-based policy allows the kms:Decrypt action`,
    403,
  );
}

/** @param key the ARN of a KMS key. @throws AwsError */
export function assertEnabled(key: string, disabledKeys: ReadonlySet<string>): void {
  if (disabledKeys.has(key)) throw new AwsError('KMS.DisabledException', `${key} is disabled.`);
}
