import { Problem } from '../../report/problem';
import type { Tool } from './server';

/** Where TensorBoard, Jupyter and Ray's dashboard listen unless something else is said. */
export const TOOL_PORTS = { tensorboard: 6006, jupyter: 8888, dashboard: 8265 } as const;

/**
 * TensorBoard over the event files below a directory, relative to where it is started.
 * @throws Problem OPTION_INVALID
 */
export function tensorboard(logdir = '.'): Tool {
  if (!logdir || logdir.startsWith('-') || logdir.includes('\0'))
    throw new Problem('OPTION_INVALID', `--logdir=${logdir} is not a directory.`, {
      next: 'Name a directory of the project: --logdir=runs',
    });
  return {
    name: 'TensorBoard',
    install: 'Add the package tensorboard to the dependencies of the project, and start a run with them.',
    programs: [['tensorboard', `--logdir=${logdir}`, '--host=127.0.0.1', '--port={port}']],
    asRoot: [],
    tokenVariable: null,
  };
}

/** JupyterLab, or what there is of Jupyter's servers. It reads the token from its environment. */
export function jupyter(): Tool {
  const options = ['--no-browser', '--ip=127.0.0.1', '--port={port}', '--port-retries=0'];
  return {
    name: 'Jupyter',
    install:
      'Add the package jupyterlab (or notebook, or jupyter-server) to the dependencies of the project, and start a run with them.',
    programs: ['jupyter-lab', 'jupyter-notebook', 'jupyter-server'].map((program) => [program, ...options]),
    asRoot: ['--allow-root'],
    tokenVariable: 'JUPYTER_TOKEN',
  };
}
