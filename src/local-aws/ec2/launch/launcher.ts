import { randomBytes } from 'node:crypto';
import type { Identity } from '../../protocol/identity';
import type { Instances, LocalInstance } from '../../instance/instances';
import { allocate, reservationRequest, type Allocation, type Site } from './allocation';
import { alsoAllow } from '../request/action';
import type { Capacity, LaunchCount } from './capacity';
import type { Zone } from '../../catalog/network';
import { checkLaunch, type CheckedLaunch, type LaunchNames } from './checked-launch';
import type { LaunchSpec } from '../request/launch-specification';
import type { SpotRequests } from '../spot/spot-requests';
import type { Volumes } from '../volumes/volumes';

/** What an instance is for, besides what was asked for. */
export interface LaunchPurpose {
  clientToken?: string;
  fingerprint?: string;
  fleet?: string;
}

/** What a launch draws on, and adds to. */
export interface LaunchRegion extends LaunchNames {
  instances: Instances;
  volumes: Volumes;
  spot: SpotRequests;
  capacity: Capacity;
}

/** Launches instances with all that comes with them: their volumes, their spot requests. */
export class Launcher {
  readonly zones: Zone[];

  constructor(private readonly region: LaunchRegion) {
    this.zones = region.zones;
  }

  /** @throws AwsError where a parameter, or a permission that the launch needs besides, is missing or wrong. */
  check(spec: LaunchSpec, caller: Identity | null): CheckedLaunch {
    if (spec.tags) alsoAllow(caller, 'ec2:CreateTags');
    if (spec.profile !== undefined) alsoAllow(caller, 'iam:PassRole');
    const checked = checkLaunch(spec, this.region);
    if (checked.spot) this.region.spot.checkRole(caller);
    return checked;
  }

  /** All instances are in one zone. @throws AwsError where no zone has capacity for the fewest: then none is launched. */
  launch(checked: CheckedLaunch, wanted: LaunchCount, purpose: LaunchPurpose = {}): LocalInstance[] {
    const zones = checked.zones.map(({ name }) => [{ checked, zone: name }]);
    const { launches, refusals } = this.allocate(zones, wanted);
    if (!launches.length) throw refusals.at(-1)!.error;
    const [{ site, count }] = launches;
    return this.launchAt(site, count, purpose);
  }

  /** Distributes the instances of a launch over the sites of one of these groups. */
  allocate<S extends Site>(groups: S[][], wanted: LaunchCount): Allocation<S> {
    return allocate(groups, wanted, this.region);
  }

  /** Launches what was allocated to a site. */
  launchAt(site: Site, count: number, purpose: LaunchPurpose): LocalInstance[] {
    const { checked, zone } = site;
    const { image, type, spec } = checked;
    const { instances, volumes, spot, reservations } = this.region;
    const reservation = `r-${randomBytes(9).toString('hex').slice(0, 17)}`;
    return Array.from({ length: count }, (_, index) => {
      const request = checked.spot
        ? spot.open(type.name, zone, spec.tags?.['spot-instances-request'] ?? {})
        : undefined;
      const instance = instances.launch({
        ...purpose,
        type: type.name,
        image: image.id,
        tags: { ...spec.tags?.instance },
        reservation,
        index,
        zone,
        profile: checked.profile,
        shutdownBehavior: spec.shutdownBehavior,
        httpTokens: spec.httpTokens,
        securityGroups: checked.securityGroups,
        placementGroup: checked.placementGroup?.id,
        // Each instance takes a place: the next one may need another reservation, or none.
        capacityReservation: reservations.usable(reservationRequest(site)).at(0)?.id,
        userData: spec.userData,
        spotRequest: request?.id,
        // A default subnet gives one, unless it is not wanted.
        publicIp: spec.publicIp === false ? undefined : `203.0.113.${1 + (randomBytes(1)[0] % 254)}`,
      });
      if (request) spot.fulfill(request, instance);
      for (const disk of checked.disks)
        volumes.attach(instance, disk, image.snapshot, spec.tags?.volume ?? {}, disk.device === image.rootDevice);
      return instance;
    });
  }
}
