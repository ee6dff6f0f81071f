import { randomBytes } from 'node:crypto';
import { type Identity, allow } from '../../protocol/identity';
import type { Instances, LocalInstance } from '../../instance/instances';
import { KeptJson } from '../../state/kept-json';
import type { Action } from '../request/action';
import type { Form } from '../request/form';
import { page, select } from '../request/select';
import { tagSet, timestamp, type Xml } from '../request/xml';
import { AwsError } from '../../protocol/aws-error';

export interface SpotRequest {
  /** `sir-…` */
  id: string;
  state: 'open' | 'active' | 'closed' | 'cancelled';
  status: { code: string; message: string; updated: number };
  type: string;
  zone: string;
  instance?: string;
  tags: Record<string, string>;
  /** ms since the epoch. */
  created: number;
}

/** What a request's status says, by its code. */
const MESSAGES = {
  'pending-fulfillment':
    'Your Spot request is pending fulfillment: capacity is available, and EC2 is launching the instance.',
  fulfilled: 'Your spot request is fulfilled.',
  'marked-for-termination': 'The Spot Instance is marked for termination.',
  'instance-terminated-no-capacity': 'Your Spot instance was terminated because there is no Spot capacity available.',
  'instance-terminated-by-user': 'Spot Instance terminated due to user-initiated termination.',
  'request-canceled-and-instance-running': 'You canceled the Spot request, and its instance still runs.',
  'canceled-before-fulfillment': 'Your Spot request was canceled before it was fulfilled.',
};

/** Requests for spot instances, one-time all of them: each has had one instance, or never will. */
export class SpotRequests {
  private readonly kept: KeptJson<SpotRequest>;
  readonly actions: Record<string, Action> = {
    DescribeSpotInstanceRequests: (form) => this.describe(form),
    CancelSpotInstanceRequests: (form) => this.cancel(form),
  };

  constructor(file: string, instances: Instances) {
    this.kept = new KeptJson(file);
    instances.watchers.push((instance, event) => {
      if (event === 'terminated') this.ended(instance);
    });
  }

  all(): SpotRequest[] {
    return this.kept.all();
  }

  save(request: SpotRequest): void {
    this.kept.set(request.id, request);
  }

  /** An account's first request makes the role that EC2 keeps spot instances by. */
  checkRole(caller: Identity | null): void {
    if (this.all().length) return;
    try {
      allow(caller, 'iam:CreateServiceLinkedRole');
    } catch {
      throw new AwsError(
        'AuthFailure.ServiceLinkedRoleCreationNotPermitted',
        'The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.',
        403,
      );
    }
  }

  open(type: string, zone: string, tags: Record<string, string>): SpotRequest {
    const id = `sir-${randomBytes(4).toString('hex')}`;
    const request: SpotRequest = {
      id,
      state: 'open',
      status: status('pending-fulfillment'),
      type,
      zone,
      tags: { ...tags },
      created: Date.now(),
    };
    this.save(request);
    return request;
  }

  fulfill(request: SpotRequest, instance: LocalInstance): void {
    this.save({ ...request, state: 'active', status: status('fulfilled'), instance: instance.id });
  }

  /** Its instance has been given notice. */
  mark({ spotRequest }: LocalInstance): void {
    this.change(spotRequest, { status: status('marked-for-termination') });
  }

  private ended({ spotRequest, reason }: LocalInstance): void {
    const bySpot = reason?.code === 'Server.SpotInstanceTermination';
    const code = bySpot ? 'instance-terminated-no-capacity' : 'instance-terminated-by-user';
    if (this.kept.get(spotRequest ?? '')?.state === 'active')
      this.change(spotRequest, { state: 'closed', status: status(code) });
  }

  private change(id: string | undefined, to: Partial<SpotRequest>): void {
    const request = id === undefined ? undefined : this.kept.get(id);
    if (request) this.save({ ...request, ...to });
  }

  /** As EC2: the instance of a request that is cancelled runs on. */
  private cancel(form: Form): { [name: string]: Xml } {
    const found = form.list('SpotInstanceRequestId').map((id) => this.find(id));
    for (const { id, state } of found) {
      if (state === 'active')
        this.change(id, { state: 'cancelled', status: status('request-canceled-and-instance-running') });
      if (state === 'open') this.change(id, { state: 'cancelled', status: status('canceled-before-fulfillment') });
    }
    return {
      spotInstanceRequestSet: found.map(({ id }) => ({ spotInstanceRequestId: id, state: this.find(id).state })),
    };
  }

  private describe(form: Form): { [name: string]: Xml } {
    const ids = form.list('SpotInstanceRequestId');
    const found = select<SpotRequest>(
      form,
      ids.length ? ids.map((id) => this.find(id)) : this.all(),
      {
        'spot-instance-request-id': ({ id }) => id,
        state: ({ state }) => state,
        'instance-id': ({ instance }) => instance,
        'status-code': (request) => request.status.code,
      },
      ({ tags }) => tags,
    );
    const { rows, nextToken } = page(form, found);
    return { spotInstanceRequestSet: rows.map(requestXml), nextToken };
  }

  private find(id: string): SpotRequest {
    const found = this.kept.get(id);
    if (!found)
      throw new AwsError(
        'InvalidSpotInstanceRequestID.NotFound',
        `The spot instance request ID '${id}' does not exist`,
      );
    return found;
  }
}

function status(code: keyof typeof MESSAGES): SpotRequest['status'] {
  return { code, message: MESSAGES[code], updated: Date.now() };
}

function requestXml(request: SpotRequest): Xml {
  return {
    spotInstanceRequestId: request.id,
    state: request.state,
    status: {
      code: request.status.code,
      message: request.status.message,
      updateTime: timestamp(request.status.updated),
    },
    type: 'one-time',
    instanceInterruptionBehavior: 'terminate',
    instanceId: request.instance,
    launchedAvailabilityZone: request.zone,
    launchSpecification: { instanceType: request.type },
    productDescription: 'Linux/UNIX',
    createTime: timestamp(request.created),
    tagSet: tagSet(request.tags),
  };
}
