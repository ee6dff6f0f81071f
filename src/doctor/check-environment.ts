import { describeEnvironment, detectEnvironment, environmentFiles } from '../config/environment/environment';
import type { Configuration } from '../config/settings/types';
import { assertVolume } from '../project/assert-ready';
import { environmentNeeds, environmentTool, type EnvironmentNeeds } from '../project/environment-needs';
import type { Problem } from '../report/problem';
import type { Findings } from './findings';

/**
 * Checks what can be told here of the project's environment.
 * @returns what the instance needs for it; null where that can't be told.
 */
export function checkEnvironment(
  findings: Findings,
  configuration: Configuration,
  workspaceRoot: string,
): ReturnType<typeof environmentTool> | null {
  const { projectRoot, declaredEnvironment: choice, train } = configuration;
  try {
    const paths = environmentFiles({ workspaceRoot, projectRoot, choice });
    const found = detectEnvironment({ workspaceRoot, projectRoot, choice, paths });
    const { manager } = found.environment;
    const detail = describeEnvironment(found).replace(/^Environment: /, '');
    findings.add('environment', manager === 'none' ? null : true, detail);
    checkVolume(findings, configuration, environmentNeeds(found, train, workspaceRoot));
    return environmentTool(found, train, workspaceRoot);
  } catch (error) {
    findings.addFailure('environment', error as Problem);
    return null;
  }
}

/** Whether the volume of an instance that is launched holds the environment, where its lock file tells. */
function checkVolume(findings: Findings, { instance }: Configuration, needs: EnvironmentNeeds | null): void {
  if (!needs?.download || !('launchSpec' in instance)) return;
  const warnings: string[] = [];
  try {
    assertVolume(instance.launchSpec, needs, { warn: (text) => void warnings.push(text) });
    findings.add('volume', warnings.length ? null : true, warnings[0] ?? 'it holds the environment of uv.lock');
  } catch (error) {
    findings.addFailure('volume', error as Problem);
  }
}
