import { createHash, randomBytes } from 'node:crypto';
import { PutObjectCommand, type PutObjectCommandInput } from '@aws-sdk/client-s3';
import type { Fixture } from './local-aws.fixture';

/** Why S3 does not hand out an object that it has. */
export const UNREADABLE = ['archived', 'customer key', 'foreign key', 'disabled key'] as const;
export type Unreadable = (typeof UNREADABLE)[number];

const FOREIGN_KEY = 'arn:aws:kms:eu-west-1:111111111111:key/foreign';
const DISABLED_KEY = 'arn:aws:kms:eu-west-1:222222222222:key/disabled';

/** Writes an object with `s3:PutObject` alone so that nobody who uses the store can read it. */
export async function putUnreadable(
  { aws, s3 }: Pick<Fixture, 'aws' | 's3'>,
  Key: string,
  why: Unreadable,
  Body: string | Buffer = '{}',
): Promise<void> {
  aws.disabledKeys.delete(DISABLED_KEY);
  await s3.send(new PutObjectCommand({ Bucket: 'bucket', Key, Body, ...settings(why) }));
  aws.disabledKeys.add(DISABLED_KEY);
}

function settings(why: Unreadable): Partial<PutObjectCommandInput> {
  if (why === 'archived') return { StorageClass: 'GLACIER' };
  if (why !== 'customer key')
    return { ServerSideEncryption: 'aws:kms', SSEKMSKeyId: why === 'foreign key' ? FOREIGN_KEY : DISABLED_KEY };
  const key = randomBytes(32);
  return {
    SSECustomerAlgorithm: 'AES256',
    SSECustomerKey: key.toString('base64'),
    SSECustomerKeyMD5: createHash('md5').update(key).digest('base64'),
  };
}
