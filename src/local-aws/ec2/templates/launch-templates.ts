import { randomBytes } from 'node:crypto';
import { ACCOUNT } from '../../protocol/identity';
import { KeptJson } from '../../state/kept-json';
import type { Action } from '../request/action';
import type { Form } from '../request/form';
import { readLaunchSpec, type LaunchSpec } from '../request/launch-specification';
import { page, select } from '../request/select';
import { tagSet, timestamp, type Xml } from '../request/xml';
import { AwsError } from '../../protocol/aws-error';

export interface LaunchTemplate {
  /** `lt-…` */
  id: string;
  name: string;
  spec: LaunchSpec;
  tags: Record<string, string>;
  /** ms since the epoch. */
  created: number;
  clientToken?: string;
}

/** How a request names a template: by its id or its name. */
export interface TemplateName {
  id?: string;
  name?: string;
  version?: string;
}

export function readTemplateName(form: Form): TemplateName {
  return {
    id: form.text('LaunchTemplateId'),
    name: form.text('LaunchTemplateName'),
    version: form.text('Version'),
  };
}

/** Launch templates, of one version each. */
export class LaunchTemplates {
  private readonly kept: KeptJson<LaunchTemplate>;
  readonly actions: Record<string, Action> = {
    CreateLaunchTemplate: (form) => this.create(form),
    DeleteLaunchTemplate: (form) => this.delete(form),
    DescribeLaunchTemplates: (form) => this.describe(form),
  };

  constructor(file: string) {
    this.kept = new KeptJson(file);
  }

  all(): LaunchTemplate[] {
    return this.kept.all();
  }

  save(template: LaunchTemplate): void {
    this.kept.set(template.id, template);
  }

  /** What a template says. @throws AwsError where it, or its version, is not there. */
  spec({ version = '$Default', ...name }: TemplateName): LaunchSpec {
    const found = this.find(name);
    if (!['1', '$Default', '$Latest'].includes(version))
      throw new AwsError(
        'InvalidLaunchTemplateId.VersionNotFound',
        `Could not find the specified version ${version} for the launch template with ID ${found.id}.`,
      );
    return found.spec;
  }

  private find({ id, name }: TemplateName): LaunchTemplate {
    const found = this.all().find((each) => (id === undefined ? each.name === name : each.id === id));
    if (!found)
      throw id === undefined
        ? new AwsError(
            'InvalidLaunchTemplateName.NotFoundException',
            `The specified launch template, with template name ${name}, does not exist.`,
          )
        : new AwsError(
            'InvalidLaunchTemplateId.NotFound',
            `The specified launch template, with template ID ${id}, does not exist.`,
          );
    return found;
  }

  private create(form: Form): { [name: string]: Xml } {
    const name = form.required('LaunchTemplateName');
    if (!/^[\w().\-/]{3,128}$/.test(name))
      throw new AwsError(
        'InvalidLaunchTemplateName.MalformedException',
        `The launch template name ${name} is invalid.`,
      );
    const clientToken = form.text('ClientToken');
    const before = this.all().find((each) => each.name === name);
    if (before && (clientToken === undefined || before.clientToken !== clientToken))
      throw new AwsError('InvalidLaunchTemplateName.AlreadyExistsException', 'Launch template name already in use.');
    if (before) return { launchTemplate: templateXml(before) };
    const data = form.part('LaunchTemplateData');
    if (!data) throw new AwsError('MissingParameter', 'The request must contain the parameter LaunchTemplateData');
    const template: LaunchTemplate = {
      id: `lt-${randomBytes(9).toString('hex').slice(0, 17)}`,
      name,
      spec: readLaunchSpec(data),
      tags: form.tagSpecifications()['launch-template'] ?? {},
      created: Date.now(),
      clientToken,
    };
    this.save(template);
    return { launchTemplate: templateXml(template) };
  }

  private delete(form: Form): { [name: string]: Xml } {
    const template = this.find(readTemplateName(form));
    this.kept.delete(template.id);
    return { launchTemplate: templateXml(template) };
  }

  private describe(form: Form): { [name: string]: Xml } {
    const [ids, names] = [form.list('LaunchTemplateId'), form.list('LaunchTemplateName')];
    const named = this.all().filter(
      ({ id, name }) => (!ids.length || ids.includes(id)) && (!names.length || names.includes(name)),
    );
    if (named.length < Math.max(ids.length, names.length))
      throw new AwsError('InvalidLaunchTemplateId.NotFound', 'At least one of the launch templates does not exist.');
    const fields = { 'launch-template-name': ({ name }: LaunchTemplate) => name };
    const { rows, nextToken } = page(
      form,
      select(form, named, fields, ({ tags }) => tags),
    );
    return { launchTemplates: rows.map(templateXml), nextToken };
  }
}

function templateXml({ id, name, created, tags }: LaunchTemplate): Xml {
  return {
    launchTemplateId: id,
    launchTemplateName: name,
    createTime: timestamp(created),
    createdBy: `arn:aws:iam::${ACCOUNT}:user/local`,
    defaultVersionNumber: 1,
    latestVersionNumber: 1,
    tagSet: tagSet(tags),
  };
}
