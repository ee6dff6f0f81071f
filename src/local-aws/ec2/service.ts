import { ACCOUNT } from '../identity';
import type { Instances, LocalInstance } from '../instance/instances';
import { AwsError, escapeXml, type Service, type ServiceRequest, type ServiceResponse } from '../service';

const NAMESPACE = 'http://ec2.amazonaws.com/doc/2016-11-15/';
const CODES = { pending: 0, running: 16, terminated: 48, stopped: 80 };

/** What is called of EC2, by its query protocol. */
export class Ec2Service implements Service {
  constructor(
    private readonly instances: Instances,
    private readonly region: string,
  ) {}

  error(error: AwsError, requestId: string): ServiceResponse {
    return {
      status: error.status,
      headers: { 'content-type': 'text/xml' },
      body: `<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>${error.code}</Code><Message>${escapeXml(error.message)}</Message></Error></Errors><RequestID>${requestId}</RequestID></Response>`,
    };
  }

  async handle(request: ServiceRequest): Promise<ServiceResponse> {
    const form = new URLSearchParams(request.body.toString());
    const action = form.get('Action') ?? '';
    return {
      status: 200,
      headers: { 'content-type': 'text/xml' },
      body: `<?xml version="1.0" encoding="UTF-8"?>\n<${action}Response xmlns="${NAMESPACE}"><requestId>${request.requestId}</requestId>${this.act(action, form)}</${action}Response>`,
    };
  }

  private act(action: string, form: URLSearchParams): string {
    switch (action) {
      case 'DescribeInstances':
        return `<reservationSet>${this.select(form)
          .map((each) => this.reservation([each]))
          .join('')}</reservationSet>`;
      case 'RunInstances':
        return this.run(form);
      case 'StartInstances':
        return this.change(form, 'running');
      case 'StopInstances':
        return this.change(form, 'stopped');
      case 'TerminateInstances':
        return this.change(form, 'terminated');
      case 'CreateTags':
        for (const id of list(form, 'ResourceId')) this.instances.tag(this.find(id), tags(form, 'Tag'));
        return '<return>true</return>';
      default:
        throw new AwsError('InvalidAction', `The action ${action} is not valid for this web service.`);
    }
  }

  private run(form: URLSearchParams): string {
    const clientToken = form.get('ClientToken') ?? undefined;
    const before = clientToken ? this.instances.all().filter((each) => each.clientToken === clientToken) : [];
    if (before.length) return this.fields(before);
    const made: LocalInstance[] = [];
    for (let count = 0; count < Number(form.get('MaxCount') ?? 1); count++) {
      made.push(
        this.instances.launch({
          type: form.get('InstanceType') ?? undefined,
          image: form.get('ImageId') ?? undefined,
          tags: tags(form, 'TagSpecification.1.Tag'),
          clientToken,
        }),
      );
    }
    return this.fields(made);
  }

  private change(form: URLSearchParams, state: LocalInstance['state']): string {
    const found = list(form, 'InstanceId').map((id) => this.find(id));
    const rows = found.map((each) => {
      const previous = each.state;
      if (previous === 'terminated' && state !== 'terminated')
        throw new AwsError(
          'IncorrectInstanceState',
          `The instance '${each.id}' is not in a state from which it can be ${state}.`,
        );
      if (previous !== state) this.instances.change(each, state);
      return `<item><instanceId>${each.id}</instanceId><currentState>${stateXml(this.instances.state(each))}</currentState><previousState>${stateXml(previous)}</previousState></item>`;
    });
    return `<instancesSet>${rows.join('')}</instancesSet>`;
  }

  private select(form: URLSearchParams): LocalInstance[] {
    const ids = list(form, 'InstanceId');
    if (ids.length) return ids.map((id) => this.find(id));
    const filters: { name: string; values: string[] }[] = [];
    for (let number = 1; form.has(`Filter.${number}.Name`); number++)
      filters.push({ name: form.get(`Filter.${number}.Name`)!, values: list(form, `Filter.${number}.Value`) });
    return this.instances.all().filter((each) =>
      filters.every(({ name, values }) => {
        if (name === 'instance-state-name') return values.includes(this.instances.state(each));
        if (name === 'instance-id') return values.includes(each.id);
        if (name.startsWith('tag:')) return values.includes(each.tags[name.slice(4)]);
        throw new AwsError('InvalidParameterValue', `The filter '${name}' is invalid`);
      }),
    );
  }

  private find(id: string): LocalInstance {
    if (!/^i-[0-9a-f]{8}([0-9a-f]{9})?$/.test(id))
      throw new AwsError('InvalidInstanceID.Malformed', `Invalid id: "${id}"`);
    const found = this.instances.get(id);
    if (!found) throw new AwsError('InvalidInstanceID.NotFound', `The instance ID '${id}' does not exist`);
    return found;
  }

  private reservation(instances: LocalInstance[]): string {
    return `<item>${this.fields(instances)}</item>`;
  }

  private fields(instances: LocalInstance[]): string {
    const items = instances.map(
      (each) =>
        `<item><instanceId>${each.id}</instanceId><imageId>${escapeXml(each.image)}</imageId><instanceState>${stateXml(this.instances.state(each))}</instanceState><instanceType>${escapeXml(each.type)}</instanceType><launchTime>${new Date(each.launched).toISOString()}</launchTime><placement><availabilityZone>${this.region}a</availabilityZone></placement><tagSet>${Object.entries(
          each.tags,
        )
          .map(([key, value]) => `<item><key>${escapeXml(key)}</key><value>${escapeXml(value)}</value></item>`)
          .join('')}</tagSet></item>`,
    );
    return `<reservationId>r-${instances[0].id.slice(2)}</reservationId><ownerId>${ACCOUNT}</ownerId><groupSet/><instancesSet>${items.join('')}</instancesSet>`;
  }
}

function stateXml(state: LocalInstance['state']): string {
  return `<code>${CODES[state]}</code><name>${state}</name>`;
}

function list(form: URLSearchParams, name: string): string[] {
  const values: string[] = [];
  for (let number = 1; form.has(`${name}.${number}`); number++) values.push(form.get(`${name}.${number}`)!);
  return values;
}

function tags(form: URLSearchParams, name: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (let number = 1; form.has(`${name}.${number}.Key`); number++)
    found[form.get(`${name}.${number}.Key`)!] = form.get(`${name}.${number}.Value`) ?? '';
  return found;
}
