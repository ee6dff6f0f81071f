import { customEndpoint } from '../aws/endpoint-variable';
import type { Access } from '../command/plan';
import { URL_LIFETIME_S } from '../store/objects/presigned';
import type { RunContext } from './types';

/**
 * How the instance reaches what is a run's in the store. Where that is, is taken from a signed URL:
 * partition, dual-stack, FIPS and endpoints of one's own are as they are here.
 * @param prefix the run's, or that of one of its nodes.
 * @param form with a form that lets it write without a role of its own, for an hour.
 */
export async function storeAccess(
  { configuration, store, aws }: Pick<RunContext, 'configuration' | 'store' | 'aws'>,
  prefix: string,
  form: boolean,
): Promise<Access> {
  const { bucket, storeAccess: access, bucketOwner, kmsKeyId } = configuration;
  const signed = form && access !== 'role';
  const [url, post, region] = await Promise.all([
    store.presignGet(`${prefix}record.json`),
    signed ? store.presignPost(prefix) : null,
    aws.region(),
  ]);
  const { protocol, host, pathname } = new URL(url);
  const pathStyle = pathname.startsWith(`/${bucket}/`) && !host.startsWith(`${bucket}.`);
  return {
    access: signed || access === 'role' ? access : 'role',
    bucket,
    region,
    endpoint: `${protocol}//${pathStyle ? host : host.slice(bucket.length + 1)}`,
    pathStyle,
    owner: bucketOwner ?? null,
    kms: kmsKeyId ?? null,
    prefix,
    post,
    expires: post ? Date.now() + URL_LIFETIME_S * 1000 : null,
  };
}

/** What stands in AWS's place for the services that the instance itself speaks to. */
export function instanceEndpoints(): { s3: string | null; ssm: string | null; secretsmanager: string | null } {
  return {
    s3: customEndpoint('s3') ?? null,
    ssm: customEndpoint('ssm') ?? null,
    secretsmanager: customEndpoint('secretsmanager') ?? null,
  };
}
