import type { Aws } from '../../aws/clients';
import { followCommand } from '../../command/follow-command';
import { sleep } from '../../system/sleep';
import { sendCommand } from '../../command/send-command';
import { Problem } from '../../report/problem';
import type { Printer } from '../../report/printer';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { formatDuration } from '../../report/units';
import { assertRunning } from '../describe/find';
import { describeInstance } from '../describe/describe-instances';
import { waitOnline } from './online';
import { Waiting } from '../describe/wait-message';
import { steadyNow } from '../../system/moment';

const READY_POLL_MS = 2_000;
/** A new instance may not be found for about a second (facts, "EC2"), ms. */
const NEW_INSTANCE_LAG_MS = 60_000;

/** Says how far cloud-init is; waits some seconds for its end, not longer: no command of ours lasts. */
const BOOTED = `
command -v cloud-init >/dev/null 2>&1 || { echo none; exit 0; }
n=0
while :; do
  status=$(cloud-init status 2>/dev/null | sed -n 's/^status: *//p')
  case "$status" in running|not*) ;; *) break ;; esac
  n=$((n + 1))
  [ $n -ge 8 ] && break
  sleep 1
done
echo "$status"
if [ "$status" = error ]; then tail -n 20 /var/log/cloud-init-output.log 2>/dev/null; fi
exit 0
`;

/**
 * Waits until an instance can be worked with: it runs, SSM reaches it, and its first boot is through.
 * @param limit ms, for all of it.
 * @throws Problem SSM_OFFLINE, or what became of the instance instead.
 */
export async function waitReady(
  aws: Aws,
  id: string,
  limit: number,
  printer: Printer,
  signal?: AbortSignal,
): Promise<void> {
  const started = steadyNow();
  const left = () => Math.max(0, limit - (steadyNow() - started));
  const waiting = new Waiting(printer, `Waiting for ${id}`);
  try {
    const instance = await seen(aws, id, signal);
    await waitOnline(aws, instance, left(), (what) => waiting.say(what), signal).catch(async (error: unknown) => {
      throw await ended(aws, id, error);
    });
    for (;;) {
      const status = await bootStatus(aws, id, left(), signal);
      if (status !== undefined && !/^(running|not )/.test(status)) return say(status, id, printer);
      if (left() === 0)
        throw new Problem('BOOT_SLOW', `The first boot of ${id} did not finish within ${formatDuration(limit)}.`, {
          next: 'Raise "startupTimeout" of the instance, or look at /var/log/cloud-init-output.log there. The instance keeps running.',
        });
      waiting.say(`${id} is online; waiting for its first boot to finish`);
      await sleep(Math.min(READY_POLL_MS, left()), signal);
    }
  } finally {
    waiting.end();
  }
}

async function seen(aws: Aws, id: string, signal?: AbortSignal) {
  for (const until = steadyNow() + NEW_INSTANCE_LAG_MS; ; await sleep(READY_POLL_MS / 4, signal)) {
    const found = await describeInstance(aws, id, signal);
    if (found) return found;
    if (steadyNow() > until) throw new Problem('INSTANCE_MISSING', `EC2 has no instance ${id}.`);
  }
}

/** Undefined: it could not be asked yet. */
async function bootStatus(aws: Aws, id: string, left: number, signal?: AbortSignal): Promise<string | undefined> {
  const options = {
    comment: 'nx-ec2: boot',
    executionTimeout: 60,
    signal,
    assertInstanceExists: () => assertRunning(aws, id),
  };
  try {
    const command = (await sendCommand(aws, [id], BOOTED, options)).get(id)!;
    return (await followCommand(aws, id, command, options)).stdout.trim() || undefined;
  } catch (error) {
    // Online since a moment only: SSM may not take commands yet.
    if (error instanceof Problem && error.code === 'INSTANCE_OFFLINE' && left > 0) return undefined;
    throw error;
  }
}

function say(status: string, id: string, printer: Printer): void {
  const [word, ...log] = status.split('\n');
  if (word === 'error')
    printer.warn(
      [`The user data of ${id} failed (/var/log/cloud-init-output.log there):`, ...log]
        .map(sanitizeForTerminal)
        .join('\n  '),
    );
}

/** Why an instance that was to boot does not run, in EC2's words. */
async function ended(aws: Aws, id: string, error: unknown): Promise<unknown> {
  if (!(error instanceof Problem) || !/^INSTANCE_(NOT_RUNNING|MISSING)$/.test(error.code)) return error;
  const found = await describeInstance(aws, id).catch(() => null);
  return new Problem('INSTANCE_NOT_RUNNING', `The instance ${id} is ${found?.state ?? 'terminated'}.`, {
    next: found?.reason ? `EC2 says: ${found.reason}` : 'EC2 does not say why.',
    cause: error,
  });
}
