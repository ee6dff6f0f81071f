import { randomBytes } from 'node:crypto';
import type { Instances, LocalInstance } from '../../instance/instances';
import { KeptJson } from '../../state/kept-json';
import type { Action } from '../request/action';
import type { Form } from '../request/form';
import type { DiskSpec } from '../request/launch-specification';
import { page, select } from '../request/select';
import { tagSet, timestamp, type Xml } from '../request/xml';
import { AwsError } from '../../protocol/aws-error';

export interface Volume {
  id: string;
  /** GiB. */
  size: number;
  type: string;
  encrypted: boolean;
  zone: string;
  tags: Record<string, string>;
  /** ms since the epoch. */
  created: number;
  snapshot?: string;
  attachment?: { instance: string; device: string; deleteOnTermination: boolean };
}

/** The volumes of instances: made with one, and deleted with it unless they are to stay. */
export class Volumes {
  private readonly kept: KeptJson<Volume>;
  readonly actions: Record<string, Action> = {
    DescribeVolumes: (form) => this.describe(form),
    DeleteVolume: (form) => this.delete(form),
  };

  constructor(file: string, instances: Instances) {
    this.kept = new KeptJson(file);
    instances.watchers.push(({ id }, event) => {
      if (event === 'terminated') this.detach(id);
    });
  }

  all(): Volume[] {
    return this.kept.all();
  }

  save(volume: Volume): void {
    this.kept.set(volume.id, volume);
  }

  of(instance: string): Volume[] {
    return this.all().filter(({ attachment }) => attachment?.instance === instance);
  }

  attach(
    { id, zone, launched }: LocalInstance,
    disk: DiskSpec,
    snapshot: string,
    tags: Record<string, string>,
    root: boolean,
  ): void {
    this.save({
      id: `vol-${randomBytes(9).toString('hex').slice(0, 17)}`,
      size: disk.size!,
      type: disk.type ?? (root ? 'gp3' : 'gp2'),
      encrypted: disk.encrypted ?? false,
      zone,
      tags: { ...tags },
      created: launched,
      snapshot: root ? snapshot : undefined,
      attachment: { instance: id, device: disk.device, deleteOnTermination: disk.deleteOnTermination ?? true },
    });
  }

  private detach(instance: string): void {
    for (const volume of this.of(instance)) {
      if (volume.attachment!.deleteOnTermination) this.kept.delete(volume.id);
      else this.save({ ...volume, attachment: undefined });
    }
  }

  private delete(form: Form): { [name: string]: Xml } {
    const volume = this.find(form.required('VolumeId'));
    if (volume.attachment)
      throw new AwsError('VolumeInUse', `Volume ${volume.id} is currently attached to ${volume.attachment.instance}`);
    this.kept.delete(volume.id);
    return { return: true };
  }

  private describe(form: Form): { [name: string]: Xml } {
    const ids = form.list('VolumeId');
    const found = select<Volume>(
      form,
      ids.length ? ids.map((id) => this.find(id)) : this.all(),
      {
        'volume-id': ({ id }) => id,
        status,
        'attachment.instance-id': ({ attachment }) => attachment?.instance,
        'availability-zone': ({ zone }) => zone,
        encrypted: ({ encrypted }) => String(encrypted),
      },
      ({ tags }) => tags,
    );
    const { rows, nextToken } = page(form, found);
    return { volumeSet: rows.map(volumeXml), nextToken };
  }

  private find(id: string): Volume {
    const found = this.kept.get(id);
    if (!found) throw new AwsError('InvalidVolume.NotFound', `The volume '${id}' does not exist.`);
    return found;
  }
}

function status({ attachment }: Volume): string {
  return attachment ? 'in-use' : 'available';
}

function volumeXml(volume: Volume): Xml {
  const { attachment } = volume;
  return {
    volumeId: volume.id,
    size: volume.size,
    snapshotId: volume.snapshot ?? '',
    availabilityZone: volume.zone,
    status: status(volume),
    createTime: timestamp(volume.created),
    volumeType: volume.type,
    encrypted: volume.encrypted,
    tagSet: tagSet(volume.tags),
    attachmentSet: attachment
      ? [
          {
            volumeId: volume.id,
            instanceId: attachment.instance,
            device: attachment.device,
            status: 'attached',
            attachTime: timestamp(volume.created),
            deleteOnTermination: attachment.deleteOnTermination,
          },
        ]
      : [],
  };
}
