import { basename, dirname } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { resolveConfiguration } from '../config/configuration';
import { withOrigins } from '../config/sources/setting-origins';
import { Printer } from '../report/printer';
import { findPlace } from '../run/ports/find-place';
import { proxySsh } from '../run/ssh/proxy';
import { filesBeside, readSshHost } from '../run/ssh/ssh-host';
import { readNxJson } from '../workspace/nx-json';

const SIGNALS = ['SIGHUP', 'SIGINT', 'SIGTERM'] as const;

/** Where the bytes of the connection come from and go to. */
export interface ProxyStreams {
  input: Readable;
  output: Writable;
}

/** The ProxyCommand of a host that remote-ssh-config has written: carries the connection of an SSH client. */
export async function sshProxy(
  file: string,
  streams: ProxyStreams = { input: process.stdin, output: process.stdout },
  printer = new Printer({ stdout: process.stderr }),
): Promise<void> {
  const host = readSshHost(file);
  const { workspaceRoot, project, projectRoot, options } = host;
  const configuration = resolveConfiguration({
    workspaceRoot,
    projectName: project,
    projectRoot,
    nxJson: readNxJson(workspaceRoot),
    options,
    target: 'remote-ssh-config',
  });
  const stop = new AbortController();
  const onSignal = (signal: string) => stop.abort(new Error(`The connection was closed by ${signal}.`));
  for (const signal of SIGNALS) process.on(signal, onSignal);
  try {
    const place = await findPlace(configuration, project, workspaceRoot, printer, host);
    try {
      const { key, knownHosts } = filesBeside(file);
      const name = basename(dirname(file));
      await proxySsh(place, { ...streams, host, name, key, knownHosts, signal: stop.signal });
    } finally {
      place.context.close();
    }
  } catch (error) {
    if (!stop.signal.aborted) throw withOrigins(error, configuration.sources ?? []);
  } finally {
    for (const signal of SIGNALS) process.off(signal, onSignal);
    // A client that does not close it would keep this process.
    streams.input.destroy();
  }
}
