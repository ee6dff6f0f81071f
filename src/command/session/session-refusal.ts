import { runtimeCode } from '../../report/error-codes';
import { Problem } from '../../report/problem';

/** Why a session's program has not done what it was started for, with what helps. */
export function sessionRefusal(instance: string, { code, message }: { code: string; message: string }): Problem {
  const next: Record<string, string> = {
    NOTHING_SYNCED: 'Sync it first: nx run <project>:remote-sync',
    NO_RUN: 'Without --run, the command uses the latest run of this project.',
    NO_ENVIRONMENT: 'Try again when its log says that the environment is ready, or name another run with --run.',
    NO_SUDO:
      "Sessions run as ssm-user, which needs sudo without a password; or let Session Manager run sessions as the training user (its preference 'Run As').",
    NO_USER: 'Set "user" to a login name that exists on the instance.',
    NO_PYTHON: 'Install Python 3.8 or newer on the instance.',
  };
  return new Problem(runtimeCode(code), `${instance}: ${message}.`, { next: next[code] });
}
