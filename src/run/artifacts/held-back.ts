import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Printer } from '../../report/printer';
import { sanitizeForTerminal, printablePath } from '../../report/terminal-text';
import { formatCount } from '../../report/units';
import { nxRun } from '../../report/shell-words';
import type { Artifacts } from './artifact-list';
import type { HeldBack } from './write/artifact';

/** Paths that are named in one message. */
const MAX_NAMED = 10;

/** Says what stays in the store because of its name, how to get it, and what came though tools would act on it. */
export function reportHeldBack(
  printer: Printer,
  project: string,
  run: string,
  heldBack: readonly HeldBack[],
  ignored: readonly string[],
): void {
  if (heldBack.length > 0) {
    const named = heldBack.slice(0, MAX_NAMED).map(({ path, why }) => `  ${printablePath(path)}: ${why}`);
    const more = heldBack.length > MAX_NAMED ? [`  and ${heldBack.length - MAX_NAMED} more`] : [];
    // A path that is printed with an escape can't be copied from here.
    const first = heldBack.find(({ path }) => printablePath(path) === path) ?? heldBack[0];
    const output = `--output=${join(tmpdir(), run)}`;
    const command = nxRun(project, 'remote-pull', `--run=${run}`, `--path=${first.path}`, output);
    printer.warn(
      [
        `${formatCount(heldBack.length, 'artifact')} of ${run} ${heldBack.length === 1 ? 'was' : 'were'} held back and not written:`,
        ...named,
        ...more,
        `The store has these artifacts. To fetch them to a directory outside of this workspace: ${command}`,
      ].join('\n'),
    );
  }
  if (ignored.length > 0) {
    const named = ignored.slice(0, 3).map(printablePath).join(', ');
    printer.warn(
      `Tools act on the names of ${formatCount(ignored.length, 'artifact')} (${named}${ignored.length > 3 ? ', …' : ''}). They were written because git and Nx ignore the directory; don't run programs in it that you don't trust with them.`,
    );
  }
}

/** Names what of a run's outputs is not in the store, and why, in one warning. */
export function reportSkipped(printer: Printer, skipped: readonly { path: string; why: string }[]): void {
  if (skipped.length === 0) return;
  const named = skipped
    .slice(0, MAX_NAMED)
    .map(({ path, why }) => `${printablePath(path)} (${sanitizeForTerminal(why)})`);
  const more = skipped.length > MAX_NAMED ? ` and ${skipped.length - MAX_NAMED} more` : '';
  printer.warn(`left on the instance: ${named.join(', ')}${more}`);
}

/**
 * Names the nodes of which nothing is fetched because they have saved nothing, and the files of other nodes that are not
 * fetched because a node of a lower rank has one of the same path.
 */
export function reportNodes(
  printer: Printer,
  project: string,
  run: string,
  { hidden, missing }: Pick<Artifacts, 'hidden' | 'missing'>,
): void {
  if (missing.length > 0) {
    const [which, have] = missing.length === 1 ? ['node', 'has'] : ['nodes', 'have'];
    printer.warn(
      `${which} ${missing.join(', ')} of ${run} ${have} saved no artifacts: only those of the other nodes are fetched.`,
    );
  }
  if (hidden.length === 0) return;
  const [first] = hidden;
  const nodes = [...new Set(hidden.map(({ node }) => node))];
  const names = [...new Set(hidden.map(({ name }) => printablePath(name)))];
  const more = names.length > MAX_NAMED ? ` and ${names.length - MAX_NAMED} more` : '';
  const of = `${nodes.length === 1 ? 'node' : 'nodes'} ${nodes.join(', ')}`;
  const output = `--output=${join(tmpdir(), `${run}-node-${first.node}`)}`;
  printer.warn(
    `${formatCount(hidden.length, 'file')} of ${of} ${hidden.length === 1 ? 'stays' : 'stay'} in the store, because a node of a lower rank has saved something else at the same path: ${names.slice(0, MAX_NAMED).join(', ')}${more}. To fetch the files of one node, for example of node ${first.node}: ${nxRun(project, 'remote-pull', `--run=${run}`, `--node=${first.node}`, output)}`,
  );
}
