import { isRegionId } from '../../config/syntax/region-id';
import { shellWord } from '../../report/shell-words';

/** The bucket's region, as S3 names it in a refusal. */
export function namedRegion(error: unknown): string | undefined {
  const { $response, Region } = error as { $response?: { headers?: Record<string, string> }; Region?: string };
  const region = $response?.headers?.['x-amz-bucket-region'] ?? Region;
  return region && isRegionId(region) ? region : undefined;
}

export function missingBucket(bucket: string): string {
  return `Check "bucket" and "region", or create it: npx nx g nx-ec2:aws-setup --bucket=${shellWord(bucket)}`;
}
