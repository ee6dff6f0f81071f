import { randomBytes } from 'node:crypto';
import { forwardPorts } from '../../run/ports/forward';
import type { Place } from '../../run/ports/place';
import { parseLocalPort } from '../../run/ports/port-option';
import { startServer, type Tool } from '../../run/ports/server';
import { openBrowser } from '../../system/open-browser';
import type { Target } from './run-target';

/** What the targets of servers have in common. */
interface ToolOptions {
  port?: number;
  open?: boolean;
}

/** A web page of a server on the instance. */
interface ToolPage {
  tool: Tool;
  /** Of this machine, where it is free and no other one is named. */
  port: number;
  /** What follows the address. */
  path(token: string): string;
}

/** Starts a server on the instance and forwards its port until it is interrupted, which ends the server as well. */
export async function openTool(
  target: Target,
  options: ToolOptions,
  place: Place,
  { tool, port, path }: ToolPage,
): Promise<void> {
  const { printer, signal } = target;
  const token = randomBytes(24).toString('hex');
  const why = await forwardPorts(
    place,
    [{ remote: port, local: parseLocalPort(options.port) }],
    signal,
    ([opened]) => showPage(target, options, `${tool.name}: http://127.0.0.1:${opened}${path(token)}`),
    (instance, until) => startServer(place, instance, tool, token, until),
  );
  printer.line(`${why} ${tool.name} is ended.`);
}

/** Prints where a page is, and opens it if that is wanted. @param line ends with the address. */
export function showPage({ printer }: Target, { open }: ToolOptions, line: string): void {
  printer.line(line);
  if (open) openBrowser(line.slice(line.lastIndexOf(' ') + 1), (error) => printer.warn(`No browser: ${error}`));
}
