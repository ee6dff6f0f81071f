import { Problem } from '../../report/problem';
import { nxRun } from '../../report/shell-words';
import type { RunContext } from '../../context/types';
import { readNodeRecord } from '../record/record';
import { resolveRun, type FoundRun } from './find-run';

/**
 * The run that is meant, as `resolveRun`, or one of its nodes.
 * @param value that of `--node`; absent: the run, whose record is that of its first node.
 * @throws Problem where the run has no such node, or the node has no record yet.
 */
export async function resolveNode(
  context: RunContext,
  option: string | true | undefined,
  value: string | number | undefined,
): Promise<FoundRun> {
  const found = await resolveRun(context, option);
  if (value === undefined) return found;
  const node = Number(value);
  const { id, node: first, attempts } = found.record;
  // An earlier attempt may have had more.
  const count = Math.max(first?.count ?? 1, ...attempts.map(({ nodes }) => nodes ?? 1));
  if (!Number.isInteger(node) || node < 0 || node >= count)
    throw new Problem(
      'OPTION_INVALID',
      `--node=${value}: ${id} has ${count === 1 ? 'one node, 0' : `the nodes 0 to ${count - 1}`}.`,
    );
  if (node === 0) return { ...found, record: { ...found.record, nodes: [] } };
  const { store, keys, project } = context;
  const read = await readNodeRecord(store, keys, id, node);
  if (read) return read;
  throw new Problem('NO_RUN', `The node ${node} of ${id} has written no record yet.`, {
    next: `To see how the run is: ${nxRun(project, 'remote-status', `--run=${id}`)}`,
  });
}
