import { spawn } from 'node:child_process';

/** What opens an address in the user's browser, by platform. */
const PROGRAMS: Partial<Record<NodeJS.Platform, [string, ...string[]]>> = {
  darwin: ['open'],
  win32: ['explorer.exe'],
};

/** Opens an address in the browser. @param onFailure called where this machine has no program that does. */
export function openBrowser(address: string, onFailure: (why: string) => void): void {
  const [program, ...args] = PROGRAMS[process.platform] ?? ['xdg-open'];
  const child = spawn(program, [...args, address], { stdio: 'ignore', detached: true });
  child.on('error', (error) => onFailure(error.message));
  child.unref();
}
