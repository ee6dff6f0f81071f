import type { FilesInput } from './types';
import { globsOf, includedGlob } from './included';
import { environmentFiles } from '../../config/environment/environment';
import type { ProjectGraph } from '@nx/devkit';

/** The projects whose files travel. */
export function projectsOf({ projectGraph, projectName, dependencies }: FilesInput): string[] {
  return [projectName, ...(dependencies ? dependenciesOf(projectGraph, projectName) : [])];
}

/** Workspace-relative directories and files in which something may change that travels. */
export function placesOf(input: FilesInput): string[] {
  const { workspaceRoot, projectGraph, include, projectName } = input;
  const { root } = projectGraph.nodes[projectName].data;
  const included = globsOf(root, include).map((glob) => {
    const { base } = includedGlob(workspaceRoot, glob);
    return base === '.' ? '' : base;
  });
  const environment = environmentFiles({ workspaceRoot, projectRoot: root, choice: input.environment });
  return [...projectsOf(input).map((name) => projectGraph.nodes[name].data.root), ...included, ...environment];
}

/** Every project that a project depends on, however far; packages are not projects. */
function dependenciesOf(graph: ProjectGraph, project: string): string[] {
  const seen = new Set([project]);
  const queue = [project];
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    for (const { target } of graph.dependencies[name] ?? []) {
      if (!(target in graph.nodes) || seen.has(target)) continue;
      seen.add(target);
      queue.push(target);
    }
  }
  seen.delete(project);
  return [...seen];
}
