import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * What puts a program into a process group of its own, in the session that it is in, with umask 0022. Node can only
 * make a new session (`detached` is setsid), and the SSM agent does not (facts: "a process group of its own but not a
 * new session"): a script that looks for its session or a child that leaves its group would behave otherwise.
 * Perl is there on macOS and on nearly every Linux, and starts in 2 ms; Python, which trainings need anyway, will do.
 */
const LAUNCHERS: [program: string, args: string[], env: Record<string, string>][] = [
  [
    'perl',
    // A LANG that this machine lacks must not make Perl complain on the command's stderr.
    ['-e', 'delete $ENV{PERL_BADLANG}; setpgrp(0, 0); umask 022; exec { $ARGV[0] } @ARGV; die "$ARGV[0]: $!\\n"'],
    { PERL_BADLANG: '0' },
  ],
  [
    'python3',
    [
      '-I',
      '-S',
      '-c',
      // Python ignores SIGPIPE and SIGXFSZ and sets LC_CTYPE: none of that is the script's.
      'import os, signal, sys; signal.signal(signal.SIGPIPE, signal.SIG_DFL); signal.signal(signal.SIGXFSZ, signal.SIG_DFL); os.environ.pop("LC_CTYPE", None); os.setpgid(0, 0); os.umask(0o022); os.execvp(sys.argv[1], sys.argv[1:])',
    ],
    {},
  ],
];

export interface Launch {
  program: string;
  args: string[];
  env: Record<string, string>;
}

let found: (typeof LAUNCHERS)[number] | undefined;

/** How to start `argv` in a process group of its own. @throws Error where there is neither Perl nor Python. */
export function inOwnGroup(argv: string[]): Launch {
  found ??= LAUNCHERS.find(([program]) => onPath(program));
  if (!found) throw new Error('Local AWS needs perl or python3 on the PATH to start the commands of an instance.');
  const [program, args, env] = found;
  return { program, args: [...args, ...argv], env };
}

function onPath(program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
