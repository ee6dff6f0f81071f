import type { Action } from '../request/action';
import type { Form } from '../request/form';
import { page, select } from '../request/select';
import type { Xml } from '../request/xml';
import { AwsError } from '../../protocol/aws-error';

interface Tagged {
  id: string;
  tags: Record<string, string>;
}

/** Resources of one type, all of which may have tags. */
export interface TaggedResources {
  /** `instance`, `volume`, … */
  type: string;
  all(): Tagged[];
  /** Keeps the changes of one that `all` returned. */
  save(id: string): void;
}

/** Those of one type, out of what keeps them. */
export function tagged<Row extends Tagged>(
  type: string,
  kept: { all(): Row[]; save(row: Row): void },
): TaggedResources {
  return {
    type,
    all: () => kept.all(),
    save: (id) =>
      kept
        .all()
        .filter((row) => row.id === id)
        .forEach((row) => kept.save(row)),
  };
}

/** The tags of all that has tags. */
export class TagActions {
  readonly actions: Record<string, Action> = {
    CreateTags: (form) => this.create(form),
    DeleteTags: (form) => this.delete(form),
    DescribeTags: (form) => this.describe(form),
  };

  constructor(private readonly resources: TaggedResources[]) {}

  private create(form: Form): { [name: string]: Xml } {
    const tags = form.tags();
    const reserved = Object.keys(tags).find((key) => key.startsWith('aws:'));
    if (reserved !== undefined)
      throw new AwsError(
        'InvalidParameterValue',
        `Tag keys starting with 'aws:' are reserved for internal use: ${reserved}`,
      );
    for (const { resource, save } of form.list('ResourceId').map((id) => this.find(id))) {
      Object.assign(resource.tags, tags);
      save();
    }
    return { return: true };
  }

  /** A tag with a value goes only where it has that value; with none named, all go. */
  private delete(form: Form): { [name: string]: Xml } {
    const tags = form.parts('Tag').map((tag) => ({ key: tag.required('Key'), value: tag.text('Value') }));
    for (const { resource, save } of form.list('ResourceId').map((id) => this.find(id))) {
      const wanted = tags.length ? tags : Object.keys(resource.tags).map((key) => ({ key, value: undefined }));
      for (const { key, value } of wanted)
        if (value === undefined || resource.tags[key] === value) delete resource.tags[key];
      save();
    }
    return { return: true };
  }

  private describe(form: Form): { [name: string]: Xml } {
    const rows = this.resources.flatMap(({ type, all }) =>
      all().flatMap(({ id, tags }) =>
        Object.entries(tags).map(([key, value]) => ({ resourceId: id, resourceType: type, key, value })),
      ),
    );
    type Row = (typeof rows)[number];
    const fields = {
      'resource-id': ({ resourceId }: Row) => resourceId,
      'resource-type': ({ resourceType }: Row) => resourceType,
      key: ({ key }: Row) => key,
      value: ({ value }: Row) => value,
    };
    const found = page(
      form,
      select<Row>(form, rows, fields, ({ key, value }) => ({ [key]: value })),
    );
    return { tagSet: found.rows, nextToken: found.nextToken };
  }

  private find(id: string): { resource: Tagged; save: () => void } {
    for (const { all, save } of this.resources) {
      const resource = all().find((each) => each.id === id);
      if (resource) return { resource, save: () => save(id) };
    }
    const instance = id.startsWith('i-');
    throw new AwsError(
      instance ? 'InvalidInstanceID.NotFound' : 'InvalidID',
      instance ? `The instance ID '${id}' does not exist` : `The ID '${id}' is not valid`,
    );
  }
}
