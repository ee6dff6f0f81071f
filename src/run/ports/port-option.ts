import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';

/** A port of the instance, and the one of this machine that stands for it. */
export interface PortPair {
  remote: number;
  /** Undefined: the same, or another one if that is in use. */
  local: number | undefined;
}

const MAX_PORT = 65_535;

/**
 * The values of `--port`: `6006`, or `8888:9999` for the port 8888 of the instance on 9999 of this machine.
 * @throws Problem OPTION_MISSING, OPTION_INVALID
 */
export function parsePorts(option: unknown): PortPair[] {
  const values = (option === undefined ? [] : [option].flat()).map(String);
  if (!values.length)
    throw new Problem('OPTION_MISSING', 'No port is given.', { next: 'Write: --port=6006, or --port=6006:7006' });
  const pairs = values.map(parsePort);
  for (const [at, { remote, local }] of pairs.entries()) {
    const before = pairs.slice(0, at);
    if (local !== undefined && before.some((other) => other.local === local))
      throw new Problem('OPTION_INVALID', `--port: the local port ${local} is named twice.`);
    if (before.some((other) => other.remote === remote && other.local === local))
      throw new Problem('OPTION_INVALID', `--port: ${remote} is named twice.`, {
        next: `Name it once, or give each a port of this machine: --port=${remote}:7006`,
      });
  }
  return pairs;
}

function parsePort(value: string): PortPair {
  const [remote, local, ...more] = value.split(':');
  const pair = { remote: toPort(remote), local: local === undefined ? undefined : toPort(local) };
  if (more.length || Number.isNaN(pair.remote) || Number.isNaN(pair.local))
    throw new Problem('OPTION_INVALID', `--port=${sanitizeForTerminal(value)} is not a port.`, {
      next: `A port is a number from 1 to ${MAX_PORT}: --port=6006. To use another port on this machine: --port=6006:7006`,
    });
  return pair;
}

/** The value of a `--port` that names a port of this machine alone. @throws Problem OPTION_INVALID */
export function parseLocalPort(option: unknown): number | undefined {
  if (option === undefined) return undefined;
  const port = toPort(String(option));
  if (Number.isNaN(port))
    throw new Problem('OPTION_INVALID', `--port=${sanitizeForTerminal(String(option))} is not a port.`, {
      next: `A port is a number from 1 to ${MAX_PORT}.`,
    });
  return port;
}

function toPort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
  return port >= 1 && port <= MAX_PORT ? port : NaN;
}
