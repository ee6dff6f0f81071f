import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateSync, gzipSync } from 'node:zlib';
import { RUNTIME_DIRECTORY } from '../../command/runtime-directory';
import { INTERPRETERS } from '../../command/script';
import { Problem } from '../../report/problem';
import { pythonProgram } from './embed-python';
import { mimeMessage, ownType } from './user-data-mime';

/** What ends an instance by itself: docs/reference/formats.md, "User data". Durations are seconds. */
export interface WatchdogConfig {
  v: 1;
  /** Absolute; null: the instance's default. */
  root: string | null;
  /** From the launch, or the last start. */
  lifetime: number;
  /** What made the lifetime as short as it is. */
  because: 'lifetime' | 'cost';
  /** ms since the epoch. */
  deadline: number | null;
  /** How long it may do nothing; null: for ever. */
  idle: number | null;
  /** How long the first run may be waited for; null: for ever. */
  start: number | null;
  /** How long it is kept after its last run; null, of the whole or of an outcome: until a shutdown rule ends it. */
  finish: { success: number | null; failure: number | null } | null;
  shutdown: 'terminate' | 'stop';
  /** The object that starts its run with no command. */
  boot: {
    bucket: string;
    region: string;
    endpoint: string | null;
    pathStyle: boolean;
    owner: string | null;
    objectKey: string;
    sha256: string;
    /** 32 bytes, base64: the object is sealed with it. */
    encryptionKey: string;
  } | null;
}

/** What EC2 takes, bytes, before it is base64. */
export const MAX_USER_DATA_BYTES = 16 * 1024;

/** How much of this is available for `instance.userData` at least, bytes, compressed. */
export const OWN_USER_DATA_BYTES = 1024;

/** The modules of the runtime that the watchdog is made of, and what it needs besides where a run starts at the boot. */
const WATCHDOG = [
  'system/boot_clock',
  'system/atomic_files',
  'system/file_lock',
  'system/daemonize',
  'system/processes',
  'system/host_stats',
  'system/used_roots',
  'run_dir/saved_run',
  'run_dir/stop_request',
  'watchdog/idle',
  'watchdog/activity',
  'watchdog/launch_time',
  'watchdog/shutdown_rules',
  'watchdog/power',
  'watchdog/watchdog',
  'watchdog/service',
];
const AT_BOOT = [
  'system/digest',
  'system/errors',
  'system/decrypt',
  'aws/metadata',
  'aws/credentials',
  'aws/endpoints',
  'aws/sigv4',
  'fleet/boot_loader',
  'watchdog/boot_run',
];

/** How much later than the watchdog the system's own timer ends the instance, minutes: it has runs to stop before. */
const MARGIN_MINUTES = 10;

/**
 * The user data of an instance: what keeps it at each boot, and then what the user has for its first.
 * @param own a script, a cloud-config, or what else cloud-init tells by its first line.
 * @throws Problem where the user's text is of no kind that cloud-init knows, or all of it is more than EC2 takes.
 */
export function userData(config: WatchdogConfig, own?: string): Buffer {
  const parts = [{ type: 'text/cloud-boothook', text: bootHook(config) }];
  if (own?.trim()) parts.push({ type: ownType(own), text: own });
  const packed = gzipSync(mimeMessage(parts), { level: 9, memLevel: 9 });
  // The operating system, of which gzip makes a note.
  packed[9] = 255;
  if (packed.length > MAX_USER_DATA_BYTES) {
    const over = packed.length - MAX_USER_DATA_BYTES;
    throw new Problem('USER_DATA_SIZE', `The user data is ${over} bytes too large: EC2 takes ${MAX_USER_DATA_BYTES}.`, {
      next: 'Shorten "instance.userData" (its compressed size counts), or let it download a script.',
    });
  }
  return packed;
}

/** Run by cloud-init at each boot, as root, before the user's own: it must end soon. Nothing in it is a user's text. */
function bootHook(config: WatchdogConfig): string {
  const modules = [...WATCHDOG, ...(config.boot ? AT_BOOT : [])].map((name) => `${name}.py`);
  const program = pythonProgram(
    Object.fromEntries(modules.map((name) => [name, readFileSync(join(RUNTIME_DIRECTORY, name), 'utf8')])),
    'watchdog.service',
  );
  const words = deflateSync(JSON.stringify(config), { level: 9 }).toString('base64');
  return `#!/bin/sh
PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
config=${words}
watchdog() {
  cat <<'NX_EC2_WATCHDOG'
${program}NX_EC2_WATCHDOG
}
for each in ${INTERPRETERS}; do
  python=$(command -v "$each") && "$python" -I -S -c 'import sys, zlib; sys.exit(sys.version_info < (3, 8))' && break
  python=
done
if [ -z "$python" ]; then
  ( until shutdown -h +${Math.ceil(config.lifetime / 60) + MARGIN_MINUTES}; do sleep 10; done ) </dev/null >/dev/null 2>&1 &
elif [ -d /run/systemd/system ] && [ -z "$NX_EC2_LOCAL_INSTANCE" ] && mkdir -p /run/nx-ec2 && : >>/run/nx-ec2/roots && watchdog >/run/nx-ec2/watchdog.py; then
  cat >/run/systemd/system/nx-ec2-watchdog.service <<NX_EC2_UNIT
[Unit]
Description=Shuts this instance down by the shutdown rules of nx-ec2
DefaultDependencies=no
StartLimitIntervalSec=0
[Service]
ExecStart=$python -I -S -B /run/nx-ec2/watchdog.py keep $config
Restart=always
RestartSec=2
KillMode=process
OOMScoreAdjust=-1000
NX_EC2_UNIT
  systemctl daemon-reload
  systemctl start --no-block nx-ec2-watchdog.service || "$python" -I -S -B /run/nx-ec2/watchdog.py apart "$config"
else
  watchdog | "$python" -I -S -B - apart "$config"
fi
exit 0
`;
}
