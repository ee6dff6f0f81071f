import { join } from 'node:path';
import { mkdirSync } from 'node:fs';
import type { Instances } from '../instance/instances';
import { escapeXml, type Service, type ServiceRequest, type ServiceResponse } from '../protocol/service';
import { dryRun, type Action } from './request/action';
import { Capacity, type CapacityUse } from './launch/capacity';
import { catalogActions } from './catalog-actions';
import type { Vpc } from '../catalog/network';
import type { Fleet } from './fleets/fleet';
import { FleetActions } from './fleets/fleet-actions';
import { Fleets } from './fleets/fleets';
import { Form } from './request/form';
import { InstanceActions } from './instances/instance-actions';
import { Interruptions } from './spot/interruptions';
import { LaunchTemplates } from './templates/launch-templates';
import { Launcher } from './launch/launcher';
import { InstanceProfiles } from './instances/profiles';
import { RunInstances } from './launch/run-instances';
import { spotPriceActions } from './spot/spot-prices';
import { SpotRequests } from './spot/spot-requests';
import { PlacementGroups } from './network/placement-groups';
import { CapacityReservations, type CapacityReservation } from './reservations/capacity-reservations';
import { ReservationActions } from './reservations/reservation-actions';
import { SecurityGroups } from './network/security-groups';
import { subnetActions } from './network/subnets';
import { TagActions, tagged } from './instances/tag-actions';
import { Volumes } from './volumes/volumes';
import { writeXml } from './request/xml';
import { AwsError } from '../protocol/aws-error';

const NAMESPACE = 'http://ec2.amazonaws.com/doc/2016-11-15/';

/** What costs or is in the way as long as it is there, by its ids. */
export interface Left {
  /** That are not terminated. */
  instances: string[];
  volumes: string[];
  /** That are open or active. */
  spotRequests: string[];
  /** That are active, or have instances. */
  fleets: string[];
  launchTemplates: string[];
  /** Besides the default one. */
  securityGroups: string[];
  placementGroups: string[];
  /** That are active or scheduled. */
  capacityReservations: string[];
}

/** EC2, by its query protocol. */
export class Ec2Service implements Service {
  readonly capacity: Capacity;
  readonly profiles = new InstanceProfiles();
  readonly interruptions: Interruptions;
  private readonly volumes: Volumes;
  private readonly spot: SpotRequests;
  private readonly templates: LaunchTemplates;
  private readonly fleets: Fleets;
  private readonly groups: SecurityGroups;
  private readonly placementGroups: PlacementGroups;
  private readonly reservations: CapacityReservations;
  private readonly actions: Record<string, Action>;

  /** @param directory where it keeps what is no instance. */
  constructor(
    private readonly instances: Instances,
    vpc: Vpc,
    directory: string,
  ) {
    mkdirSync(directory, { recursive: true });
    const { zones } = vpc;
    this.reservations = new CapacityReservations(join(directory, 'capacity-reservations.json'), instances);
    this.capacity = new Capacity(zones, () => usedCapacity(instances, this.reservations));
    this.volumes = new Volumes(join(directory, 'volumes.json'), instances);
    this.spot = new SpotRequests(join(directory, 'spot-requests.json'), instances);
    this.templates = new LaunchTemplates(join(directory, 'launch-templates.json'));
    this.groups = new SecurityGroups(join(directory, 'security-groups.json'), instances);
    this.placementGroups = new PlacementGroups(join(directory, 'placement-groups.json'), vpc.region, instances);
    this.interruptions = new Interruptions(instances, this.spot);
    const launcher = new Launcher({
      instances,
      volumes: this.volumes,
      spot: this.spot,
      capacity: this.capacity,
      profiles: this.profiles,
      groups: this.groups,
      placementGroups: this.placementGroups,
      reservations: this.reservations,
      zones,
    });
    this.fleets = new Fleets(join(directory, 'fleets.json'), instances, launcher, this.templates);
    const told = new InstanceActions({
      instances,
      volumes: this.volumes,
      groups: this.groups,
      placementGroups: this.placementGroups,
      reservations: this.reservations,
      zones,
    });
    this.actions = {
      ...told.actions,
      ...new RunInstances(instances, launcher, this.templates, told).actions,
      ...this.volumes.actions,
      ...this.spot.actions,
      ...this.templates.actions,
      ...this.groups.actions,
      ...this.placementGroups.actions,
      ...new ReservationActions(this.reservations, zones, vpc.region, (...place) => this.fits(...place)).actions,
      ...new FleetActions(this.fleets, instances).actions,
      ...new TagActions([
        { type: 'instance', all: () => instances.seen(), save: () => instances.save() },
        tagged('volume', this.volumes),
        tagged('spot-instances-request', this.spot),
        tagged('launch-template', this.templates),
        tagged('fleet', this.fleets),
        tagged('security-group', this.groups),
        tagged('placement-group', this.placementGroups),
        tagged('capacity-reservation', this.reservations),
      ]).actions,
      ...catalogActions(vpc),
      ...subnetActions(vpc, (zone) => this.capacity.addresses(zone)),
      ...spotPriceActions(zones),
    };
  }

  left(): Left {
    const ids = (rows: { id: string }[]) => rows.map(({ id }) => id);
    return {
      instances: ids(this.instances.all().filter(({ state }) => state !== 'terminated')),
      volumes: ids(this.volumes.all()),
      spotRequests: ids(this.spot.all().filter(({ state }) => state === 'open' || state === 'active')),
      fleets: ids(this.fleets.all().filter((fleet) => this.isLeft(fleet))),
      launchTemplates: ids(this.templates.all()),
      securityGroups: ids(this.groups.all().filter(({ name }) => name !== 'default')),
      placementGroups: ids(this.placementGroups.all()),
      capacityReservations: ids(this.reservations.all().filter((each) => this.isHeld(each))),
    };
  }

  close(): void {
    this.interruptions.close();
    this.fleets.close();
  }

  error(error: AwsError, requestId: string): ServiceResponse {
    return {
      status: error.status,
      headers: { 'content-type': 'text/xml' },
      body: `<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>${error.code}</Code><Message>${escapeXml(error.message)}</Message></Error></Errors><RequestID>${requestId}</RequestID></Response>`,
    };
  }

  async handle(request: ServiceRequest): Promise<ServiceResponse> {
    const form = new Form(new URLSearchParams(request.body.toString()));
    const name = form.text('Action') ?? '';
    if (!Object.hasOwn(this.actions, name))
      throw new AwsError('InvalidAction', `The action ${name} is not valid for this web service.`);
    // RunInstances says first what is wrong with what it is asked for.
    if (name !== 'RunInstances') dryRun(form);
    const content = writeXml({ requestId: request.requestId, ...this.actions[name](form, request.identity) });
    return {
      status: 200,
      headers: { 'content-type': 'text/xml' },
      body: `<?xml version="1.0" encoding="UTF-8"?>\n<${name}Response xmlns="${NAMESPACE}">${content}</${name}Response>`,
    };
  }

  private fits(type: string, zone: string, count: number): number {
    return this.capacity.planner()({ type, zone, market: 'on-demand' }, count).count;
  }

  private isHeld(reservation: CapacityReservation): boolean {
    return ['active', 'scheduled'].includes(this.reservations.state(reservation));
  }

  private isLeft(fleet: Fleet): boolean {
    const replaces = fleet.type === 'maintain' && fleet.state === 'active';
    return replaces || this.fleets.living(fleet).length > 0;
  }
}

/** What the instances take that are not terminated, and what is reserved. */
function usedCapacity(instances: Instances, reservations: CapacityReservations): CapacityUse[] {
  const alive = instances.all().filter(({ state }) => state !== 'terminated');
  const own = alive.map((each) => ({
    zone: each.zone,
    type: each.type,
    market: each.spotRequest === undefined ? ('on-demand' as const) : ('spot' as const),
    hasAddress: true,
    // In a reservation, an instance takes an address only.
    running: each.state === 'running' && !reservations.isReserved(each),
  }));
  const reserved = reservations.reserved().flatMap(({ zone, type, count }) =>
    Array.from({ length: count }, () => ({
      zone,
      type,
      market: 'on-demand' as const,
      running: true,
      hasAddress: false,
    })),
  );
  return [...own, ...reserved];
}
