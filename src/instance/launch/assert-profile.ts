import type { Aws } from '../../aws/clients';
import { sdk } from '../../aws/sdk';
import type { LaunchSpec } from '../../config/schema/launch-spec';
import { Problem } from '../../report/problem';

const SETTING = '/ssm/managed-instance/default-ec2-instance-management-role';

/**
 * The SSM agent of an instance registers by the role of its instance profile, or by the account's Default Host
 * Management Configuration.
 * @throws Problem NO_PROFILE before anything is launched, where there is neither.
 */
export async function assertProfile(
  aws: Aws,
  { instanceProfile }: Pick<LaunchSpec, 'instanceProfile'>,
  signal?: AbortSignal,
): Promise<void> {
  if (instanceProfile !== undefined) return;
  const setting = await hostManagement(aws, signal);
  if (setting === 'on') return;
  const why = setting === 'off' ? 'is off' : 'could not be read (ssm:GetServiceSetting)';
  throw new Problem(
    'NO_PROFILE',
    `"instance" has no "instanceProfile", so the SSM agent of the instance can't register. The account's Default Host Management Configuration ${why}.`,
    {
      next: 'Add "instanceProfile": "<name>" to "instance". To create one: nx g nx-ec2:aws-setup',
      settings: ['instance'],
    },
  );
}

/** Whether the account gives instances without a profile a role for Systems Manager; null: not known. */
async function hostManagement(aws: Aws, abortSignal?: AbortSignal): Promise<'on' | 'off' | null> {
  const { GetServiceSettingCommand } = sdk.ssm();
  try {
    const ssm = await aws.ssm();
    const { ServiceSetting } = await ssm.send(new GetServiceSettingCommand({ SettingId: SETTING }), { abortSignal });
    const role = ServiceSetting?.SettingValue;
    return role && role !== '$None' ? 'on' : 'off';
  } catch {
    abortSignal?.throwIfAborted();
    return null;
  }
}
