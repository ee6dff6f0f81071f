import { assertProfile } from './assert-profile';

/** What GetServiceSetting answers. */
const account = (answer: () => unknown) => ({ ssm: async () => ({ send: async () => answer() }) }) as never;
const setting = (SettingValue?: string) => account(() => ({ ServiceSetting: { SettingValue } }));

describe('a launch spec without an instance profile', () => {
  it('is accepted if the Default Host Management Configuration is on', async () => {
    await expect(
      assertProfile(setting('service-role/AWSSystemsManagerDefaultEC2InstanceManagementRole'), {}),
    ).resolves.toBeUndefined();
  });

  it.each([
    ['off', setting('$None'), 'is off'],
    ['empty', setting(undefined), 'is off'],
    [
      'not to be asked for',
      account(() => {
        throw new Error('AccessDenied');
      }),
      'could not be read',
    ],
  ])('is refused if that is %s', async (_, aws, why) => {
    await expect(assertProfile(aws, {})).rejects.toMatchObject({
      code: 'NO_PROFILE',
      message: expect.stringContaining(why),
    });
  });

  it('with a profile, needs no request', async () => {
    await assertProfile(
      account(() => {
        throw new Error('asked');
      }),
      { instanceProfile: 'training' },
    );
  });
});
