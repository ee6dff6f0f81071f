import { randomBytes } from 'node:crypto';
import { SECURITY_GROUP } from '../catalog/network';
import { DEFAULT_IMAGE } from '../catalog/images';

/** Where an instance is or is on its way to. */
export type Settled = 'running' | 'stopped' | 'terminated';

/** As EC2 tells it. */
export type InstanceState = Settled | 'pending' | 'stopping' | 'shutting-down';

/** Why an instance left `running`, in EC2's words. */
export interface StateReason {
  code: string;
  message: string;
  /** `User initiated (2024-01-01 00:00:00 GMT)`. */
  transition: string;
}

export interface LocalInstance {
  id: string;
  state: Settled;
  type: string;
  image: string;
  tags: Record<string, string>;
  /** ms since the epoch; each start changes it, and no reboot. */
  launched: number;
  /** When its machine last began to boot, ms since the epoch. */
  bootBegan: number;
  /** When its state last changed, ms since the epoch. */
  changed: number;
  reason?: StateReason;
  clientToken?: string;
  /** What was asked for under the client token. */
  fingerprint?: string;
  /** Those of one call have one reservation. */
  reservation: string;
  index: number;
  zone: string;
  /** The name of its instance profile, and of the role in it; null: it has none, and its agent is never online. */
  profile: string | null;
  /** What `shutdown` in the instance does to it. */
  shutdownBehavior: 'stop' | 'terminate';
  httpTokens: 'required' | 'optional';
  /** Unique among the instances that are not terminated. */
  privateIp: string;
  publicIp?: string;
  securityGroups: string[];
  /** Base64, as it was given. */
  userData?: string;
  spotRequest?: string;
  /** The id of the capacity reservation that it runs in. */
  capacityReservation?: string;
  /** The id of its placement group. */
  placementGroup?: string;
  /** The fleet that keeps it. */
  fleet?: string;
  /** When EC2 ends it: it has been given notice. ms since the epoch. */
  interruption?: number;
  /** When EC2 said that it is at risk, ms since the epoch. */
  rebalance?: number;
  /** What its processes prove by that they run in it: a part of its metadata service's path. */
  secret: string;
}

/** What an instance may be launched with; its address is of its zone's subnet. */
export type InstanceTraits = Partial<
  Omit<LocalInstance, 'id' | 'state' | 'launched' | 'bootBegan' | 'changed' | 'privateIp' | 'secret'>
>;

/** The profile of an instance without a chosen one. */
const PROFILE = 'local-instance';

/** A whole record out of what is known; what is undefined is as if it weren't there. */
export function instanceRecord(
  traits: Pick<LocalInstance, 'id' | 'launched' | 'zone' | 'privateIp'> & Partial<LocalInstance>,
): LocalInstance {
  const known = Object.fromEntries(Object.entries(traits).filter(([, value]) => value !== undefined));
  return {
    state: 'running',
    type: 't3.micro',
    image: DEFAULT_IMAGE.id,
    tags: {},
    changed: traits.launched,
    bootBegan: traits.launched,
    reservation: `r-${traits.id.slice(2)}`,
    index: 0,
    profile: PROFILE,
    shutdownBehavior: 'stop',
    httpTokens: 'required',
    securityGroups: [SECURITY_GROUP],
    secret: randomBytes(16).toString('hex'),
    ...(known as typeof traits),
  };
}
