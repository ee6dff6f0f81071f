import { policyLines } from '../aws/permissions/grant';
import type { Where } from '../aws/permissions/statement';
import type { Check } from '../command/plan';
import { withOrigins } from '../config/sources/setting-origins';
import type { Configuration } from '../config/settings/types';
import type { Denied, Problem } from '../report/problem';
import { addMissingPermission } from './add-missing-permission';

export interface Finding extends Check {
  where: 'here' | 'instance';
}

/** Findings that nothing else relies on: the other checks run whatever they say. */
const INDEPENDENT = new Set(['environment', 'volume']);

/** What the doctor has found so far, each failure with the statements that a policy lacks. */
export class Findings {
  readonly all: Finding[] = [];
  /** What the statements name; completed as it becomes known. */
  readonly resources: Where;

  constructor(private readonly configuration: Configuration) {
    this.resources = { bucket: configuration.bucket, prefix: configuration.prefix };
  }

  /** Whether something failed that the other checks rely on. */
  get isBlocked(): boolean {
    return this.all.some(({ ok, name }) => ok === false && !INDEPENDENT.has(name));
  }

  add(name: string, ok: boolean | null, detail: string, fix: string | null = null): void {
    this.all.push({ where: 'here', name, ok, detail, fix });
  }

  addFailure(name: string, failure: Problem, ok: false | null = false): void {
    const problem = withOrigins(failure, this.configuration.sources ?? []);
    const [what, ...rest] = problem.message.split('\n');
    const aws = problem.aws ? `${what} ${problem.aws.code}: ${problem.aws.message}` : what;
    this.add(name, ok, aws, this.fix(problem.next ?? (rest.join(' ') || null), problem.aws?.denied));
  }

  /** Checks that know only AWS's words where a permission is missing. */
  addChecks(where: Finding['where'], checks: readonly Check[]): void {
    for (const check of checks) this.all.push({ where, ...addMissingPermission(check, this.resources) });
  }

  /** What to do, with the statements to add where a permission is missing: a line each. */
  fix(fix: string | null, denied: Denied | undefined): string | null {
    return denied ? [fix, ...policyLines(denied, this.resources)].filter((line) => line !== null).join('\n') : fix;
  }
}
