import type { Aws } from '../aws/clients';
import type { Check } from '../command/plan';
import { openStream } from '../command/session/stream';
import { Problem, type Denied } from '../report/problem';

const NAME = 'open a session';
const DOCUMENT = 'AWS-StartNonInteractiveCommand';
const FIX = 'without sessions, logs come from the store every few seconds, and remote-shell does not work';
/** What is run there ends at once: a session that has not ended by then, ms, works all the same. */
const SESSION_TIMEOUT_MS = 15_000;

/** Opens a session of Session Manager as the live log does, and ends it. What live streams take is no condition of anything else. */
export async function checkSession(
  aws: Aws,
  instance: string,
  signal?: AbortSignal,
): Promise<{ check: Check; denied?: Denied }> {
  try {
    const stream = await openStream(aws, instance, {
      document: DOCUMENT,
      parameters: { command: ['true'] },
      reason: 'nx-ec2: doctor',
      onOutput: () => undefined,
      onError: () => undefined,
      signal,
    });
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise((resolve) => (timer = setTimeout(resolve, SESSION_TIMEOUT_MS)));
    try {
      await Promise.race([stream.ended, patience]);
    } finally {
      clearTimeout(timer);
      await stream.close();
    }
    return { check: { name: NAME, ok: true, detail: DOCUMENT, fix: null } };
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    const [what] = error.message.split('\n');
    const detail = error.aws ? `${what} ${error.aws.code}: ${error.aws.message}` : what;
    const known = /^SESSION_(DENIED|UNAVAILABLE|ENCRYPTED)$/.test(error.code);
    const fix = error.next ? `${error.next} (${FIX})` : FIX;
    return { check: { name: NAME, ok: known ? null : false, detail, fix }, denied: error.aws?.denied };
  }
}
