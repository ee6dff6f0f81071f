import { Problem } from '../../report/problem';
import type { SshHostFiles } from './ssh-host';

/** How often an idle connection is checked, seconds. */
const ALIVE_INTERVAL_S = 15;

export interface HostBlock {
  name: string;
  user: string;
  files: SshHostFiles;
  /** Words of the command line of the proxy. */
  proxy: readonly string[];
}

/**
 * The configuration of a host for ssh and for editors that read ssh's.
 * @throws Problem SSH_CONFIG where a path has characters that ssh's configuration can't hold.
 */
export function hostBlock({ name, user, files, proxy }: HostBlock): string {
  return `# Written by nx run <project>:remote-ssh-config, which replaces this file.
Host ${name}
  HostName ${name}
  HostKeyAlias ${name}
  User ${user}
  IdentityFile ${expandedPath(files.key)}
  IdentitiesOnly yes
  PreferredAuthentications publickey
  UserKnownHostsFile ${expandedPath(files.knownHosts)}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  ServerAliveInterval ${ALIVE_INTERVAL_S}
  ProxyCommand ${proxyCommand(proxy)}
`;
}

/** The line that includes all hosts of a directory. @throws Problem SSH_CONFIG */
export function includeLine(directory: string): string {
  // ssh expands patterns in this path, and its later versions tokens and variables.
  if (/[*?[\]{}\\%$]/.test(directory)) throw unusable(directory);
  return `Include ${quoted(`${directory}/*.conf`)}`;
}

/** A path in which ssh replaces `%` tokens and `${NAME}`. */
function expandedPath(path: string): string {
  // Nothing escapes a variable.
  if (path.includes('${')) throw unusable(path);
  return quoted(path.replaceAll('%', '%%'));
}

/** The rest of the line, which ssh gives to the user's shell after it has replaced its `%` tokens. */
function proxyCommand(words: readonly string[]): string {
  return words.map((word) => `'${onLine(word).replaceAll('%', '%%').replaceAll("'", `'\\''`)}'`).join(' ');
}

function quoted(path: string): string {
  if (/["\\]/.test(onLine(path))) throw unusable(path);
  return `"${path}"`;
}

function onLine(text: string): string {
  if (/[\0-\x1f\x7f]/.test(text)) throw unusable(text);
  return text;
}

function unusable(path: string): Problem {
  return new Problem('SSH_CONFIG', `${JSON.stringify(path)} has characters that the configuration of ssh can't hold.`, {
    next: 'Name another directory with NX_EC2_CACHE_DIRECTORY, or move the workspace.',
  });
}
