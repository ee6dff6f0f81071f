import { parseDenial } from '../../aws/denied';
import { awsCode, awsStatus, isTransient } from '../../aws/reason';

/** Of S3's answers of this code, the one that is about an object with a customer's key (SSE-C). */
const CUSTOMER_KEY = /server[- ]side encryption/i;

/**
 * What a refused GET says of its object.
 * @returns `object`: S3 returns it to no reader. `key`: its KMS key is of no use to this caller; that may be the key of the
 * whole store. undefined: the refusal does not say that the object exists.
 */
export function refusalOf(error: unknown): 'object' | 'key' | undefined {
  const code = awsCode(error);
  if (code === undefined || (awsStatus(error) ?? 500) >= 500 || isTransient(error)) return undefined;
  if (code === 'InvalidObjectState') return 'object';
  const { message } = error as Error;
  if (code === 'InvalidRequest' && CUSTOMER_KEY.test(message)) return 'object';
  if (code.startsWith('KMS.')) return 'key';
  return code === 'AccessDenied' && parseDenial(message)?.action?.startsWith('kms:') ? 'key' : undefined;
}
