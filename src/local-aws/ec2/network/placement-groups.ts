import { randomBytes } from 'node:crypto';
import type { Instances, LocalInstance } from '../../instance/instances';
import { AwsError } from '../../protocol/aws-error';
import { ACCOUNT, type Identity } from '../../protocol/identity';
import { KeptJson } from '../../state/kept-json';
import { alsoAllow, dryRun, type Action } from '../request/action';
import type { Form } from '../request/form';
import type { PlacementGroupName } from '../request/launch-specification';
import { select } from '../request/select';
import { tagSet, type Xml } from '../request/xml';

export interface PlacementGroup {
  /** `pg-…` */
  id: string;
  name: string;
  tags: Record<string, string>;
  /** ms since the epoch. */
  created: number;
}

const MAX_NAME_LENGTH = 255;

/** Cluster placement groups: the instances of one are in one zone. */
export class PlacementGroups {
  private readonly kept: KeptJson<PlacementGroup>;
  readonly actions: Record<string, Action> = {
    CreatePlacementGroup: (form, caller) => this.create(form, caller),
    DescribePlacementGroups: (form) => this.describe(form),
    DeletePlacementGroup: (form) => this.delete(form),
  };

  constructor(
    file: string,
    private readonly region: string,
    private readonly instances: Instances,
  ) {
    this.kept = new KeptJson(file);
  }

  all(): PlacementGroup[] {
    return this.kept.all();
  }

  save(group: PlacementGroup): void {
    this.kept.set(group.id, group);
  }

  get(id: string | undefined): PlacementGroup | undefined {
    return id === undefined ? undefined : this.kept.get(id);
  }

  /** A group that a launch names. @throws AwsError InvalidPlacementGroup.Unknown, also while it is too new. */
  find(wanted: PlacementGroupName): PlacementGroup {
    const found = this.named(wanted);
    if (!this.isAvailable(found)) throw unknown(wanted);
    return found;
  }

  /** The zone of a group; undefined while it has no instances. */
  zone({ id }: PlacementGroup): string | undefined {
    return this.members(id).at(0)?.zone;
  }

  private named({ id, name }: PlacementGroupName): PlacementGroup {
    const found = this.all().find((each) => (id === undefined ? each.name === name : each.id === id));
    if (!found) throw unknown({ id, name });
    return found;
  }

  /** An instance leaves its group when it is terminated: while it shuts down it is still in it. */
  private members(id: string): LocalInstance[] {
    return this.instances
      .all()
      .filter((each) => each.placementGroup === id && this.instances.state(each) !== 'terminated');
  }

  private isAvailable({ created }: PlacementGroup): boolean {
    return Date.now() >= created + this.instances.unseen;
  }

  private create(form: Form, caller: Identity | null): { [name: string]: Xml } {
    const name = form.required('GroupName');
    const strategy = form.required('Strategy');
    if (name.length > MAX_NAME_LENGTH || /[^\x20-\x7e]/.test(name))
      throw new AwsError('InvalidParameterValue', `Value (${name}) for parameter groupName is invalid.`);
    if (!['cluster', 'spread', 'partition'].includes(strategy))
      throw new AwsError('InvalidParameterValue', `Value (${strategy}) for parameter strategy is invalid.`);
    if (strategy !== 'cluster')
      throw new AwsError(
        'UnsupportedOperation',
        `Local AWS has placement groups of the strategy cluster, not ${strategy}.`,
      );
    const tags = form.tagSpecifications()['placement-group'];
    if (tags) alsoAllow(caller, 'ec2:CreateTags');
    if (this.all().some((each) => each.name === name))
      throw new AwsError('InvalidPlacementGroup.Duplicate', `The Placement Group '${name}' already exists.`);
    dryRun(form);
    const group = {
      id: `pg-${randomBytes(9).toString('hex').slice(0, 17)}`,
      name,
      tags: tags ?? {},
      created: Date.now(),
    };
    this.save(group);
    return { placementGroup: this.xml(group) };
  }

  private describe(form: Form): { [name: string]: Xml } {
    const [ids, names] = [form.list('GroupId'), form.list('GroupName')];
    const asked = [...ids.map((id) => ({ id })), ...names.map((name) => ({ name }))];
    const found = select<PlacementGroup>(
      form,
      asked.length ? asked.map((each) => this.named(each)) : this.all(),
      {
        'group-name': ({ name }) => name,
        'group-arn': (group) => this.arn(group),
        state: (group) => (this.isAvailable(group) ? 'available' : 'pending'),
        strategy: () => 'cluster',
      },
      ({ tags }) => tags,
    );
    return { placementGroupSet: found.map((each) => this.xml(each)) };
  }

  private delete(form: Form): { [name: string]: Xml } {
    const { id, name } = this.named({ name: form.required('GroupName') });
    if (this.members(id).length)
      throw new AwsError(
        'InvalidPlacementGroup.InUse',
        `The placement group '${name}' is in use and may not be deleted.`,
      );
    this.kept.delete(id);
    return { return: true };
  }

  private arn({ name }: PlacementGroup): string {
    return `arn:aws:ec2:${this.region}:${ACCOUNT}:placement-group/${name}`;
  }

  private xml(group: PlacementGroup): Xml {
    return {
      groupName: group.name,
      groupId: group.id,
      groupArn: this.arn(group),
      strategy: 'cluster',
      state: this.isAvailable(group) ? 'available' : 'pending',
      tagSet: tagSet(group.tags),
    };
  }
}

function unknown({ id, name }: PlacementGroupName): AwsError {
  return new AwsError('InvalidPlacementGroup.Unknown', `The Placement Group '${name ?? id}' is unknown.`);
}
