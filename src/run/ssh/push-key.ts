import type { Aws } from '../../aws/clients';
import { awsCode, awsProblem } from '../../aws/reason';
import { sdk } from '../../aws/sdk';

/**
 * Has EC2 Instance Connect give a public key to a user of an instance, for 60 s.
 * @throws Problem SSH_KEY
 */
export async function pushKey(
  aws: Aws,
  instance: string,
  user: string,
  publicKey: string,
  signal?: AbortSignal,
): Promise<void> {
  const { SendSSHPublicKeyCommand } = sdk.instanceConnect();
  const client = await aws.instanceConnect();
  try {
    await client.send(
      new SendSSHPublicKeyCommand({ InstanceId: instance, InstanceOSUser: user, SSHPublicKey: publicKey }),
      { abortSignal: signal },
    );
  } catch (error) {
    signal?.throwIfAborted();
    const code = awsCode(error) ?? '';
    const denied = /^(AccessDenied|Auth)/.test(code);
    throw awsProblem(
      'SSH_KEY',
      denied
        ? `Not allowed to push a public key for ${user} to ${instance}.`
        : `EC2 Instance Connect did not take a public key for ${user} on ${instance}.`,
      error,
      denied
        ? `The caller needs ec2-instance-connect:SendSSHPublicKey on the instance, with ec2:osuser ${user}.`
        : undefined,
    );
  }
}
