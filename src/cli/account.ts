import { Aws } from '../aws/clients';
import { resolvePlace, type ConnectionKey, type Place } from '../config/connection';
import { withOrigins } from '../config/sources/setting-origins';
import { callerArn } from '../instance/describe/caller';
import { takeInventory, type Inventory } from '../instance/inventory/inventory';
import { nxLibrary } from '../system/nx-library';
import { readNxJson } from '../workspace/nx-json';

/** Options that say which account and region are meant. */
export interface AccountOptions {
  bucket?: string;
  prefix?: string;
  region?: string;
  profile?: string;
}

/** What nx-ec2 has made in an account and region. */
export interface Account {
  place: Place;
  aws: Aws;
  region: string;
  /** ARN. */
  caller: string;
  inventory: Inventory;
  /** ms since the epoch, by AWS's clock where this machine's is off. */
  now: number;
}

/**
 * Looks, and closes the connection after `use`.
 * @param keys the keys of the connection that `use` needs; default: all.
 */
export async function withAccount<T>(
  options: AccountOptions,
  use: (account: Account) => Promise<T>,
  keys?: readonly ConnectionKey[],
): Promise<T> {
  const workspaceRoot = nxLibrary.workspaceRoot();
  const { bucket, prefix, region, profile } = options;
  const place = resolvePlace({
    workspaceRoot,
    nxJson: readNxJson(workspaceRoot),
    options: { bucket, prefix, region, profile },
    keys,
  });
  const aws = new Aws(place);
  try {
    const region = await aws.region();
    const [caller, inventory] = await Promise.all([callerArn(aws), takeInventory(aws)]);
    // What the SDK has learned of the difference between the two clocks, ms.
    const { systemClockOffset } = (await aws.ec2()).config;
    return await use({ place, aws, region, caller, inventory, now: Date.now() + systemClockOffset });
  } catch (error) {
    throw withOrigins(error, place.sources ?? []);
  } finally {
    aws.close();
  }
}
