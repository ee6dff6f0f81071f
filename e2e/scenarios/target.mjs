// One executor of the installed plugin in a process of its own, as Nx calls it: a hundred Nx processes would measure Nx.
// Arguments: the project, the target, its options as JSON. The workspace is the current directory.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import process from 'node:process';

const [project, target, options] = process.argv.slice(2);
const root = process.cwd();
const data = { name: project, root: `models/${project}`, targets: { [target]: { executor: `nx-ec2:${target}` } } };
const execute = createRequire(join(root, 'package.json'))(
  join(root, 'node_modules/nx-ec2/dist/executors', target, 'executor.js'),
).default;
void execute(JSON.parse(options), {
  root,
  cwd: root,
  isVerbose: false,
  projectName: project,
  targetName: target,
  nxJsonConfiguration: {},
  projectsConfigurations: { version: 2, projects: { [project]: data } },
  projectGraph: { nodes: { [project]: { type: 'app', name: project, data } }, dependencies: { [project]: [] } },
}).then(({ success }) => {
  process.exitCode = success ? 0 : 1;
});
