import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { customEndpoint } from '../endpoint-variable';

/** Regions of AWS's own partition, whose hosts are all named alike. China, GovCloud and the isolated partitions differ. */
const REGION = /^(us|eu|ap|sa|ca|me|af|il|mx)-(?!iso)[a-z]+-\d$/;
/** Buckets that are a part of a host's name and need nothing else: no dot (certificates), no directory bucket, no access point. */
const BUCKET = /^(?!.*--)[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/;
/** What in the shared configuration file changes where requests go or how they are signed. */
const CHANGES_ENDPOINTS = /^\s*(endpoint_url|services|use_fips_endpoint|use_dualstack_endpoint|s3|sigv4a_\w+)\s*=/m;

/** Where a service answers. */
export interface DirectEndpoint {
  url: URL;
  region: string;
  /** S3: the bucket is the first part of the path, not of the host's name. */
  pathStyle: boolean;
}

/**
 * The endpoint of a service, where environment and configuration leave no doubt of it; undefined where only the SDK's rules
 * can tell it (FIPS, dual stack, other partitions, endpoints in the shared configuration file).
 * @param bucket for S3.
 */
export function directEndpoint(
  service: string,
  region: string | undefined,
  bucket?: string,
): DirectEndpoint | undefined {
  const { AWS_USE_FIPS_ENDPOINT: fips, AWS_USE_DUALSTACK_ENDPOINT: dual } = process.env;
  if (!region || !REGION.test(region) || fips === 'true' || dual === 'true' || configChangesEndpoints())
    return undefined;
  const custom = customEndpoint(service);
  if (custom !== undefined) {
    const url = URL.canParse(custom) ? new URL(custom) : undefined;
    // A path, a query: the SDK has rules for them.
    return url && /^https?:$/.test(url.protocol) && url.pathname === '/' && !url.search
      ? { url, region, pathStyle: true }
      : undefined;
  }
  if (service !== 's3') return { url: new URL(`https://${service}.${region}.amazonaws.com`), region, pathStyle: false };
  if (bucket === undefined || !BUCKET.test(bucket)) return undefined;
  return { url: new URL(`https://${bucket}.s3.${region}.amazonaws.com`), region, pathStyle: false };
}

let changes: { file: string; answer: boolean } | undefined;

function configChangesEndpoints(): boolean {
  const file = process.env.AWS_CONFIG_FILE || join(homedir(), '.aws', 'config');
  if (changes?.file !== file) changes = { file, answer: matches(file) };
  return changes.answer;
}

function matches(file: string): boolean {
  try {
    return CHANGES_ENDPOINTS.test(readFileSync(file, 'utf8'));
  } catch (error) {
    // What can't be read may say anything; a file that is not there says nothing.
    return !['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');
  }
}
