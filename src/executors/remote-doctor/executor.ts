import type { ExecutorContext } from '@nx/devkit';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { diagnose } from '../../doctor/doctor';
import type { Finding } from '../../doctor/findings';
import { runTarget } from '../lib/run-target';
import type { ExecutorOptions } from '../../config/schema/executor-options';

/** Checks what the other targets rely on, from here and from the instance, and prints a table. */
export default function remoteDoctor(
  given: ExecutorOptions<'remote-doctor'>,
  context: ExecutorContext,
): Promise<{ success: boolean }> {
  return runTarget('remote-doctor', given, context, false, async (target) => {
    const { configuration, printer, project, signal } = target;
    const findings = await diagnose(configuration, project, context.root, printer, signal);
    for (const line of table(findings)) printer.line(line);
    const failed = findings.filter(({ ok }) => ok === false);
    if (failed.length) {
      throw Object.assign(
        new Problem(
          'DOCTOR',
          `${failed.length} of ${findings.length} checks failed: ${failed.map(({ name }) => name).join(', ')}.`,
        ),
        { result: { checks: findings } },
      );
    }
    return { checks: findings };
  });
}

const MARKS = new Map<boolean | null, string>([
  [true, 'ok'],
  [false, 'FAILED'],
  [null, '-'],
]);

function table(findings: Finding[]): string[] {
  const width = Math.max(...findings.map(({ name }) => name.length));
  return findings.flatMap(({ where, name, ok, detail, fix }) => [
    `${where.padEnd(8)}  ${MARKS.get(ok)!.padEnd(6)}  ${name.padEnd(width)}  ${sanitizeForTerminal(detail)}`,
    ...(fix && ok !== true
      ? fix.split('\n').map((line) => `${' '.repeat(18 + width)}  -> ${sanitizeForTerminal(line)}`)
      : []),
  ]);
}
