import type { Identity } from '../../protocol/identity';
import type { Instances } from '../../instance/instances';
import { dryRun, type Action } from '../request/action';
import type { Form } from '../request/form';
import type { InstanceActions } from '../instances/instance-actions';
import type { Launcher } from './launcher';
import { overSpec, readLaunchSpec } from '../request/launch-specification';
import { readTemplateName, type LaunchTemplates } from '../templates/launch-templates';
import type { Xml } from '../request/xml';
import { AwsError } from '../../protocol/aws-error';

const MAX_TOKEN_LENGTH = 64;

export class RunInstances {
  readonly actions: Record<string, Action> = { RunInstances: (form, caller) => this.run(form, caller) };

  constructor(
    private readonly instances: Instances,
    private readonly launcher: Launcher,
    private readonly templates: LaunchTemplates,
    private readonly told: InstanceActions,
  ) {}

  private run(form: Form, caller: Identity | null): { [name: string]: Xml } {
    const [min, max] = [Number(form.required('MinCount')), Number(form.required('MaxCount'))];
    if (!(min >= 1 && max >= min))
      throw new AwsError('InvalidParameterValue', `Invalid value '${max}' for instanceCount.`);
    const clientToken = form.text('ClientToken');
    if ((clientToken?.length ?? 0) > MAX_TOKEN_LENGTH || /[^\x20-\x7e]/.test(clientToken ?? ''))
      throw new AwsError('InvalidParameterValue', `Value (${clientToken}) for parameter clientToken is invalid.`);
    const fingerprint = form.fingerprint();
    const before = clientToken ? this.instances.all().filter((each) => each.clientToken === clientToken) : [];
    if (before.length) {
      if (before[0].fingerprint !== fingerprint)
        throw new AwsError(
          'IdempotentParameterMismatch',
          'Arguments on this idempotent request are inconsistent with arguments used in previous request(s).',
        );
      return this.told.reservation(before);
    }
    const template = form.part('LaunchTemplate');
    const spec = readLaunchSpec(form);
    const checked = this.launcher.check(
      template ? overSpec(spec, this.templates.spec(readTemplateName(template))) : spec,
      caller,
    );
    dryRun(form);
    return this.told.reservation(this.launcher.launch(checked, { min, max }, { clientToken, fingerprint }));
  }
}
