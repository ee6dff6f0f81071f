import { once } from 'node:events';
import { join } from 'node:path';
import { Aws } from '../aws/clients';
import { resolveConnection } from '../config/connection';
import { selectingOptions } from '../config/schema/selecting-options';
import { withOrigins } from '../config/sources/setting-origins';
import { hasOwnHost } from '../local-aws/protocol/web-page';
import { Problem } from '../report/problem';
import { Printer } from '../report/printer';
import { repeatOptions } from '../report/repeated-options';
import { sanitizeForTerminal } from '../report/terminal-text';
import { Store } from '../store/store';
import { nxLibrary } from '../system/nx-library';
import { openBrowser } from '../system/open-browser';
import { uiRoutes } from '../ui/routes';
import { startUiServer, type UiServer } from '../ui/server';
import { StoreReader } from '../ui/store-reader';
import { readNxJson } from '../workspace/nx-json';
import { workspaceProjects, type WhereOptions } from './named-run';
import { reportOutcome } from './outcome';
import { readPort } from './read-port';

export interface UiOptions extends WhereOptions {
  port?: string;
  open?: boolean;
  json?: boolean;
}

/** What a caller may replace: where the page's files are, when the server ends; it is told the address. */
export interface UiHost {
  assets?: string;
  signal?: AbortSignal;
  onReady?: (url: string) => void;
}

/** Serves the page until it is told to stop. */
export function ui(options: UiOptions, printer = new Printer(options), host: UiHost = {}): Promise<void> {
  const { bucket, prefix, region, profile } = options;
  // The commands that the page shows act on the store that it shows.
  const given = selectingOptions({ bucket, prefix, region, profile });
  return reportOutcome(printer, () => repeatOptions(given, () => serve(options, printer, host)));
}

async function serve(options: UiOptions, printer: Printer, { assets, signal, onReady }: UiHost): Promise<object> {
  const port = portOf(options.port ?? '0');
  const connection = await connectionOf(options);
  const aws = new Aws(connection);
  let server: UiServer | undefined;
  try {
    const store = new Store(aws, connection);
    // A bucket that does not exist is said here, not on the page.
    await Promise.all([aws.region(), store.bucketRegion()]);
    server = await startUiServer({
      port,
      assets: assets ?? join(__dirname, '../ui'),
      routes: uiRoutes(new StoreReader(store, connection.prefix, options.project), { aws }),
      isOwnHost: hasOwnHost,
    }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE' && error.code !== 'EACCES') throw error;
      throw new Problem('PORT_UNAVAILABLE', `Port ${port} can't be listened on: ${error.code}.`, {
        next: 'Choose another one with --port, or leave it out.',
      });
    });
    printer.line(server.url);
    printer.line('The address works once, in one browser. Ctrl+C ends the server; it does not touch any run.');
    if (options.open !== false) openBrowser(server.url, (why) => printer.warn(`No browser: ${why}`));
    onReady?.(server.url);
    await stopped(signal);
    return { port: server.port };
  } catch (error) {
    throw withOrigins(error, connection.sources ?? []);
  } finally {
    await server?.close();
    aws.close();
  }
}

function portOf(text: string): number {
  try {
    return readPort(text);
  } catch (error) {
    throw new Problem('OPTION_INVALID', (error as Error).message);
  }
}

/** The store that nx.json names, or a project's. */
async function connectionOf({ project, bucket, prefix, region, profile }: UiOptions) {
  const workspaceRoot = nxLibrary.workspaceRoot();
  const found = project === undefined ? [] : await workspaceProjects(({ name }) => name === project);
  if (project !== undefined && !found.length && bucket === undefined)
    throw new Problem('NO_PROJECT', `No project of this workspace is called ${sanitizeForTerminal(project)}.`, {
      next: 'To list the projects: nx show projects. For one that was removed, add --bucket.',
    });
  return resolveConnection({
    workspaceRoot,
    nxJson: readNxJson(workspaceRoot),
    projectRoot: found[0]?.root,
    options: { bucket, prefix, region, profile },
  });
}

async function stopped(signal?: AbortSignal): Promise<void> {
  const told = new AbortController();
  const stop = () => told.abort();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const each of signals) process.on(each, stop);
  try {
    const any = signal ? AbortSignal.any([signal, told.signal]) : told.signal;
    if (!any.aborted) await once(any, 'abort');
  } finally {
    for (const each of signals) process.off(each, stop);
  }
}
