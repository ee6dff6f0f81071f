import type { Identity } from '../../protocol/identity';
import type { Instances } from '../../instance/instances';
import type { Action } from '../request/action';
import { readFleet, type Fleet } from './fleet';
import type { Fleets } from './fleets';
import { historyXml } from './fleet-history';
import { errorXml, fleetXml, launchedXml } from './fleet-xml';
import type { Form } from '../request/form';
import { page, select } from '../request/select';
import type { Xml } from '../request/xml';
import { AwsError } from '../../protocol/aws-error';

const FLEET_ID = /^fleet-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** What is asked of fleets. */
export class FleetActions {
  readonly actions: Record<string, Action> = {
    CreateFleet: (form, caller) => this.create(form, caller),
    DeleteFleets: (form) => this.delete(form),
    DescribeFleets: (form) => this.describe(form),
    DescribeFleetInstances: (form) => this.describeInstances(form),
    DescribeFleetHistory: (form) => historyXml(form, this.find(form.required('FleetId'))),
  };

  constructor(
    private readonly fleets: Fleets,
    private readonly instances: Instances,
  ) {}

  /** An instant fleet answers with what it launched, and with what it was refused, also where that did no harm. */
  private create(form: Form, caller: Identity | null): { [name: string]: Xml } {
    const asked = readFleet(form);
    const { clientToken, fingerprint } = asked;
    const before = clientToken ? this.fleets.all().find((each) => each.clientToken === clientToken) : undefined;
    if (before && before.fingerprint !== fingerprint)
      throw new AwsError(
        'IdempotentParameterMismatch',
        'Arguments on this idempotent request are inconsistent with arguments used in previous request(s).',
      );
    if (!before) this.fleets.create(asked, caller);
    const fleet = before ?? asked;
    if (fleet.type !== 'instant') return { fleetId: fleet.id };
    return { fleetId: fleet.id, ...this.outcome(fleet) };
  }

  private outcome(fleet: Fleet): { [name: string]: Xml } {
    return {
      errorSet: fleet.errors.map((each) => errorXml(fleet, each)),
      fleetInstanceSet: launchedXml(fleet, (id) => this.instances.get(id)!),
    };
  }

  private delete(form: Form): { [name: string]: Xml } {
    const terminate = form.required('TerminateInstances') === 'true';
    const done: Xml[] = [];
    const failed: Xml[] = [];
    for (const fleetId of form.list('FleetId')) {
      const fleet = this.fleets.get(fleetId);
      const reject = (code: string, message: string) => failed.push({ fleetId, error: { code, message } });
      if (!FLEET_ID.test(fleetId)) reject('fleetIdMalformed', `The fleet ID ${fleetId} is malformed.`);
      else if (!fleet) reject('fleetIdDoesNotExist', `The fleet ID ${fleetId} does not exist.`);
      else if (fleet.type === 'instant' && !terminate)
        reject('fleetNotInDeletableState', 'An instant fleet is deleted with its instances only.');
      else {
        const previousFleetState = this.state(fleet);
        this.fleets.delete(fleet, terminate);
        const currentFleetState = terminate ? 'deleted_terminating' : 'deleted_running';
        done.push({ fleetId, currentFleetState, previousFleetState });
      }
    }
    return { successfulFleetDeletionSet: done, unsuccessfulFleetDeletionSet: failed };
  }

  /** Instant fleets only where they are named. There is no filter by tag. */
  private describe(form: Form): { [name: string]: Xml } {
    const ids = form.list('FleetId');
    const asked = ids.length
      ? ids.map((id) => this.find(id))
      : this.fleets.all().filter(({ type }) => type !== 'instant');
    const found = select<Fleet>(form, asked, {
      'fleet-state': (fleet) => this.state(fleet),
      type: ({ type }) => type,
    });
    const { rows, nextToken } = page(form, found);
    return {
      fleetSet: rows.map((fleet) => ({
        ...fleetXml(fleet, this.state(fleet), this.fleets.living(fleet)),
        ...(fleet.type === 'instant' ? this.outcome(fleet) : {}),
      })),
      nextToken,
    };
  }

  private describeInstances(form: Form): { [name: string]: Xml } {
    const fleet = this.find(form.required('FleetId'));
    if (fleet.type === 'instant')
      throw new AwsError(
        'UnsupportedOperation',
        'DescribeFleetInstances does not support fleets of type instant. Use DescribeFleets with the fleet ID.',
      );
    const alive = select(form, this.fleets.living(fleet), { 'instance-type': ({ type }) => type });
    const { rows, nextToken } = page(form, alive);
    return {
      fleetId: fleet.id,
      activeInstanceSet: rows.map(({ id, type, spotRequest }) => ({
        instanceId: id,
        instanceType: type,
        spotInstanceRequestId: spotRequest,
        instanceHealth: 'healthy',
      })),
      nextToken,
    };
  }

  /** A fleet that was deleted is gone once its instances are. */
  private state(fleet: Fleet): string {
    return fleet.state !== 'active' && this.fleets.living(fleet).length === 0 ? 'deleted' : fleet.state;
  }

  private find(id: string): Fleet {
    const found = this.fleets.get(id);
    if (!found) throw new AwsError('InvalidFleetId.NotFound', `The fleet ID '${id}' does not exist`);
    return found;
  }
}
