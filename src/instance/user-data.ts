import { gzipSync } from 'node:zlib';

/** What guards an instance that was made: docs/FORMAT.md, "User data". Durations are seconds. */
export interface KeeperWish {
  v: 1;
  root: string | null;
  /** From the boot. */
  lifetime: number;
  because: 'lifetime' | 'cost';
  /** ms since the epoch. */
  deadline: number | null;
  idle: number | null;
  /** Ends it where no run began within so long. */
  start: number | null;
  finish: null | { success: number | null; failure: number | null };
  shutdown: 'terminate' | 'stop';
  boot: null | {
    bucket: string;
    region: string;
    endpoint: string | null;
    pathStyle: boolean;
    owner: string | null;
    key: string;
    sha256: string;
  };
}

/** The user data of an instance: its wish, and the user's own part, as a MIME message, compressed. */
export function userData(wish: KeeperWish, own?: string): Buffer {
  const boundary = '==nx-ec2==';
  const parts = [
    { type: 'text/cloud-boothook', text: `#!/bin/sh\n: '${JSON.stringify(wish)}'\n` },
    ...(own === undefined
      ? []
      : [{ type: own.startsWith('#cloud-config') ? 'text/cloud-config' : 'text/x-shellscript', text: own }]),
  ];
  const message = [
    `MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="${boundary}"\n`,
    ...parts.map(({ type, text }) => `--${boundary}\nContent-Type: ${type}; charset="utf-8"\n\n${text}`),
    `--${boundary}--\n`,
  ].join('\n');
  return gzipSync(message, { level: 9 });
}
