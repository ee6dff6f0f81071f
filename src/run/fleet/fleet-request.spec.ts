import { resolveFleetInputs } from './fleet-request';
import type { RunContext } from '../../context/types';

/** An account that answers GetServiceSetting so, and nothing else. */
const context = (SettingValue: string) => {
  const send = jest.fn(async () => ({ ServiceSetting: { SettingValue } }));
  const ec2 = jest.fn(() => Promise.reject(new Error('EC2 was asked')));
  const aws = { ssm: async () => ({ send }), ec2, region: async () => 'eu-west-1' };
  return {
    ec2,
    context: {
      aws,
      configuration: { train: { nodes: 1 } },
      printer: { detail: () => undefined },
    } as unknown as RunContext,
  };
};
const lookUp = (of: RunContext, instanceProfile?: string) =>
  resolveFleetInputs(of, { types: ['t3.micro'], instanceProfile } as never, {} as never);

describe('a fleet without an instance profile', () => {
  it('is refused before the first request to EC2', async () => {
    const { ec2, context: of } = context('$None');
    await expect(lookUp(of)).rejects.toMatchObject({
      code: 'NO_PROFILE',
      message: expect.stringMatching(/"instanceProfile": "<name>"/),
    });
    expect(ec2).not.toHaveBeenCalled();
  });

  it.each([
    ['the account gives its instances a role', 'service-role/Default', undefined],
    ['the launch spec names one', '$None', 'training'],
  ])('is accepted if %s', async (_, setting, profile) => {
    const { ec2, context: of } = context(setting);
    await expect(lookUp(of, profile)).rejects.not.toMatchObject({ code: 'NO_PROFILE' });
    expect(ec2).toHaveBeenCalled();
  });
});
