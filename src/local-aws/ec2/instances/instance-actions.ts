import { ACCOUNT } from '../../protocol/identity';
import type { InstanceState, Instances, LocalInstance } from '../../instance/instances';
import type { Settled } from '../../instance/record';
import type { Action } from '../request/action';
import type { Zone } from '../../catalog/network';
import type { Form } from '../request/form';
import { instanceXml, stateXml } from './instance-xml';
import { byUser } from './reason';
import { page, select } from '../request/select';
import type { CapacityReservations } from '../reservations/capacity-reservations';
import type { PlacementGroups } from '../network/placement-groups';
import type { SecurityGroups } from '../network/security-groups';
import type { Volumes } from '../volumes/volumes';
import type { Xml } from '../request/xml';
import { AwsError } from '../../protocol/aws-error';

/** What an instance refers to. */
export interface InstanceSurroundings {
  instances: Instances;
  volumes: Volumes;
  groups: SecurityGroups;
  placementGroups: PlacementGroups;
  reservations: CapacityReservations;
  zones: Zone[];
}

/** What is asked and changed of instances that are there. */
export class InstanceActions {
  readonly actions: Record<string, Action> = {
    DescribeInstances: (form) => this.describe(form),
    DescribeInstanceStatus: (form) => this.describeStatus(form),
    StartInstances: (form) => this.change(form, 'running'),
    StopInstances: (form) => this.change(form, 'stopped'),
    TerminateInstances: (form) => this.change(form, 'terminated'),
    RebootInstances: (form) => this.reboot(form),
    ModifyInstanceAttribute: (form) => this.modify(form),
  };

  private readonly instances: Instances;

  constructor(private readonly around: InstanceSurroundings) {
    this.instances = around.instances;
  }

  /** Those of one call, as EC2 answers it. */
  reservation(instances: LocalInstance[]): { [name: string]: Xml } {
    return {
      reservationId: instances[0].reservation,
      ownerId: ACCOUNT,
      groupSet: [],
      instancesSet: instances.map((each) => this.xml(each)),
    };
  }

  /** @throws AwsError InvalidInstanceID.NotFound, also for one that is too new. */
  find(id: string): LocalInstance {
    if (!/^i-[0-9a-f]{8}([0-9a-f]{9})?$/.test(id))
      throw new AwsError('InvalidInstanceID.Malformed', `Invalid id: "${id}"`);
    const found = this.instances.seen().find((each) => each.id === id);
    if (!found) throw new AwsError('InvalidInstanceID.NotFound', `The instance ID '${id}' does not exist`);
    return found;
  }

  private xml(instance: LocalInstance): Xml {
    const { zones, volumes, groups, placementGroups, reservations } = this.around;
    return instanceXml(instance, {
      state: this.instances.state(instance),
      zone: zones.find(({ name }) => name === instance.zone) ?? zones[0],
      volumes: volumes.of(instance.id),
      reservation: reservations.get(instance.capacityReservation),
      placementGroup: placementGroups.get(instance.placementGroup),
      groups: instance.securityGroups.map((id) => ({ groupId: id, groupName: groups.nameOf(id) })),
    });
  }

  private describe(form: Form): { [name: string]: Xml } {
    const { rows, nextToken } = page(form, this.select(form));
    const reservations = new Map<string, LocalInstance[]>();
    for (const each of rows) reservations.set(each.reservation, [...(reservations.get(each.reservation) ?? []), each]);
    return { reservationSet: [...reservations.values()].map((each) => this.reservation(each)), nextToken };
  }

  /** Those that run, unless all are asked for. */
  private describeStatus(form: Form): { [name: string]: Xml } {
    const all = form.flag('IncludeAllInstances') ?? false;
    const found = this.select(form).filter((each) => all || this.instances.state(each) === 'running');
    const { rows, nextToken } = page(form, found);
    const instanceStatusSet = rows.map((each) => {
      const state = this.instances.state(each);
      const status = { status: state === 'running' ? 'ok' : 'not-applicable' };
      return {
        instanceId: each.id,
        availabilityZone: each.zone,
        instanceState: stateXml(state),
        instanceStatus: status,
        systemStatus: status,
      };
    });
    return { instanceStatusSet, nextToken };
  }

  private select(form: Form): LocalInstance[] {
    const ids = form.list('InstanceId');
    return select<LocalInstance>(
      form,
      ids.length ? ids.map((id) => this.find(id)) : this.instances.seen(),
      {
        'instance-id': ({ id }) => id,
        'instance-state-name': (each) => this.instances.state(each),
        'client-token': ({ clientToken }) => clientToken,
        'instance-type': ({ type }) => type,
        'image-id': ({ image }) => image,
        'availability-zone': ({ zone }) => zone,
        'instance-lifecycle': ({ spotRequest }) => (spotRequest === undefined ? undefined : 'spot'),
        'spot-instance-request-id': ({ spotRequest }) => spotRequest,
        'placement-group-name': ({ placementGroup }) => this.around.placementGroups.get(placementGroup)?.name,
        'reservation-id': ({ reservation }) => reservation,
      },
      ({ tags }) => tags,
    );
  }

  private change(form: Form, to: Settled): { [name: string]: Xml } {
    const found = form.list('InstanceId').map((id) => this.find(id));
    if (!found.length) throw new AwsError('MissingParameter', 'The request must contain the parameter InstanceId');
    for (const each of found) this.checkChange(each, to);
    const rows = found.map((each) => {
      const previous = this.instances.state(each);
      if (each.state !== to) this.instances.change(each, to, to === 'running' ? undefined : byUser());
      return {
        instanceId: each.id,
        currentState: stateXml(this.instances.state(each)),
        previousState: stateXml(previous),
      };
    });
    return { instancesSet: rows };
  }

  private checkChange(instance: LocalInstance, to: Settled): void {
    const state: InstanceState = this.instances.state(instance);
    if (to === 'stopped' && instance.spotRequest !== undefined && instance.state === 'running')
      throw new AwsError(
        'UnsupportedOperation',
        `You can't stop the Spot Instance '${instance.id}' because it is associated with a one-time Spot Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.`,
      );
    const wrong = instance.state === 'terminated' ? to !== 'terminated' : to === 'running' && state === 'stopping';
    const verb = to === 'running' ? 'started' : to;
    if (wrong)
      throw new AwsError(
        'IncorrectInstanceState',
        `The instance '${instance.id}' is not in a state from which it can be ${verb}.`,
      );
  }

  private reboot(form: Form): { [name: string]: Xml } {
    const found = form.list('InstanceId').map((id) => this.find(id));
    for (const each of found) this.mustBeUp(each, 'rebooted');
    for (const each of found) this.instances.reboot(each);
    return { return: true };
  }

  private modify(form: Form): { [name: string]: Xml } {
    const instance = this.find(form.required('InstanceId'));
    const behavior =
      form.text('InstanceInitiatedShutdownBehavior.Value') ??
      (form.text('Attribute') === 'instanceInitiatedShutdownBehavior' ? form.text('Value') : undefined);
    if (behavior !== 'stop' && behavior !== 'terminate')
      throw new AwsError(
        'InvalidParameterValue',
        'Local AWS modifies instanceInitiatedShutdownBehavior only, to stop or terminate.',
      );
    if (instance.state === 'terminated') this.mustBeUp(instance, 'modified');
    instance.shutdownBehavior = behavior;
    this.instances.save();
    return { return: true };
  }

  private mustBeUp({ id, state }: LocalInstance, verb: string): void {
    if (state !== 'running')
      throw new AwsError(
        'IncorrectInstanceState',
        `The instance '${id}' is not in a state from which it can be ${verb}.`,
      );
  }
}
