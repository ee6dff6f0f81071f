import { LOGIN_USERS } from '../../aws/permissions/login-users';
import { finishCommand } from '../../command/finish-command';
import { nothingListens } from '../../command/ports/ssh-session';
import { sendCommand } from '../../command/send-command';
import type { RunContext } from '../../context/types';
import { Problem } from '../../report/problem';

/** The SSH server of an instance, as a command on the instance sees it. */
export interface SshServer {
  /** The user that the image is logged into with. */
  user: string;
  /** Its host keys, as in a known_hosts file, without a name. */
  keys: string[];
  /** The instance has the program by which EC2 Instance Connect gives keys to the server. */
  hasInstanceConnect: boolean;
}

const MAX_KEYS = 16;
const KEY = /^key ((?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/]{40,2000}={0,2})(?: .*)?$/;
const USER = /^user ([A-Za-z_][\w.-]{0,31})$/;
const EXECUTION_TIMEOUT_S = 60;

/**
 * Asks an instance for its SSH server. The answer is root's, and comes through Systems Manager: the host keys are those of
 * this instance, whoever is on the network.
 * @throws Problem SSH_UNAVAILABLE where it has none that runs, and what a command can throw.
 */
export async function askSshServer(
  context: RunContext,
  instance: string,
  port: number,
  signal?: AbortSignal,
): Promise<SshServer> {
  const { aws } = context;
  const target = context.at(instance);
  await target.allowed();
  const script = serverScript(port);
  const options = { comment: 'nx-ec2: host keys of the SSH server', executionTimeout: EXECUTION_TIMEOUT_S, signal };
  const command = (await sendCommand(aws, [instance], script, options)).get(instance)!;
  const { stdout } = await finishCommand(aws, instance, command, script, {
    ...options,
    assertInstanceExists: target.assertInstanceExists,
    repeat: { unstarted: true, noReply: true, why: 'It only reads.' },
    answered: (invocation) => USER.test(invocation.stdout.split('\n')[0]),
  });
  return parseServer(stdout, instance, port);
}

/** @throws Problem SSH_UNAVAILABLE */
export function parseServer(answer: string, instance: string, port: number): SshServer {
  const lines = answer.split('\n').map((line) => line.trimEnd());
  const user = USER.exec(lines[0])?.[1];
  if (user === undefined)
    throw new Problem('REPLY_INVALID', `The command that asks for the SSH server of ${instance} brought no answer.`, {
      next: 'Run the same command again.',
    });
  const keys = [...new Set(lines.flatMap((line) => KEY.exec(line)?.[1] ?? []))].slice(0, MAX_KEYS);
  if (!keys.length) {
    if (lines.includes('server')) throw nothingListens(instance, port);
    throw new Problem('SSH_UNAVAILABLE', `${instance} has no SSH server.`, {
      next: 'Install one there (the package openssh-server), or use remote-shell, which needs none.',
    });
  }
  return { user, keys, hasInstanceConnect: lines.includes('connect') };
}

/**
 * A script for sh. The host keys are asked of what listens on the port of the instance itself, which is where Session Manager
 * connects to, whatever the configuration of the server.
 */
function serverScript(port: number): string {
  return `PATH="$PATH:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
user=$(id -un)
if [ "$(id -u)" = 0 ]; then
  for name in ${LOGIN_USERS.join(' ')}; do
    if id -u "$name" >/dev/null 2>&1; then user=$name; break; fi
  done
fi
echo "user $user"
if command -v sshd >/dev/null 2>&1; then echo server; fi
for program in /opt/aws/bin /usr/share/ec2-instance-connect; do
  if [ -x "$program/eic_run_authorized_keys" ]; then echo connect; break; fi
done
if command -v ssh-keyscan >/dev/null 2>&1; then
  for host in 127.0.0.1 ::1; do
    keys=$(ssh-keyscan -T 5 -p ${port} "$host" 2>/dev/null | sed -n 's/^[^# ][^ ]* /key /p')
    if [ -n "$keys" ]; then echo "$keys"; break; fi
  done
else
  sed 's/^/key /' /etc/ssh/ssh_host_*_key.pub 2>/dev/null
fi
exit 0
`;
}
