import { Problem } from '../../report/problem';

/** What starts the processes of a training. */
export interface Launcher {
  name: 'torchrun' | 'accelerate' | 'ray';
  /** `gpu`: one for each GPU of the run. */
  processes: number | 'gpu';
  /** An option of the command that gets their number, and its position; null: the runtime starts torchrun, or Ray. */
  option: { position: number; name: string } | null;
}

interface LauncherSettings {
  launcher: 'auto' | 'torchrun' | 'ray' | 'none';
  processes?: number | 'gpu';
  nodes?: number;
}

/** Tools that run a command in the environment of the project. */
const RUNNERS = new Set(['uv', 'poetry', 'pdm', 'pixi', 'hatch', 'rye']);
const TORCHRUN_MODULES = new Set(['torch.distributed.run', 'torch.distributed.launch']);
const ACCELERATE_MODULE = 'accelerate.commands.launch';

/**
 * Decides what starts the processes of a training.
 * @param command null: a script is configured.
 * @throws Problem `CONFIG_INVALID` where `processes` would be ignored, or two launchers would start each other.
 */
export function launcherOf(
  { launcher, processes, nodes = 1 }: LauncherSettings,
  command: string[] | null,
): Launcher | null {
  const own = command && launcherInCommand(command);
  if (launcher === 'torchrun' || launcher === 'ray') {
    if (own)
      throw new Problem(
        'CONFIG_INVALID',
        `"train.command" already starts ${own.name}, and "launcher" is ${launcher}.`,
        {
          next: 'Remove "launcher"; "processes" then sets the number of processes of the command.',
          settings: ['train.launcher', 'train.command'],
        },
      );
    if (launcher === 'torchrun') return { name: 'torchrun', processes: processes ?? 'gpu', option: null };
    if (processes !== undefined)
      throw new Problem(
        'CONFIG_INVALID',
        '"train.processes" is set, and "launcher" is ray: the script itself asks Ray for its workers.',
        {
          next: 'Remove "processes". The script sets the number, for example with ScalingConfig(num_workers=…) of Ray Train.',
          settings: ['train.processes', 'train.launcher'],
        },
      );
    // The training itself, on the first node.
    return { name: 'ray', processes: 1, option: null };
  }
  if (processes === undefined) {
    // torchrun reads the nodes from variables; Accelerate takes them as options, beside the number of processes of all.
    const needsOptions = nodes > 1 && launcher === 'auto' && own?.name === 'accelerate';
    return needsOptions ? { ...own, processes: 'gpu' } : null;
  }
  if (launcher === 'none' || !own)
    throw new Problem('CONFIG_INVALID', '"train.processes" is set, and no launcher starts the training.', {
      next:
        launcher === 'none'
          ? 'Remove "processes", or set "launcher" to "torchrun".'
          : 'Set "launcher" to "torchrun", or remove "processes". A command that begins with torchrun or accelerate launch needs no "launcher".',
      settings: ['train.processes'],
    });
  return { ...own, processes };
}

/** The options of the torchrun that a command begins with, without those of the training; empty for other commands. */
export function torchrunOptions(command: string[]): string[] {
  const own = launcherInCommand(command);
  if (own?.name !== 'torchrun') return [];
  const words = command.slice(own.option.position);
  const program = words.findIndex((word) => /\.py$|^(-m|--module|--no[-_]python)$/.test(word));
  return program < 0 ? words : words.slice(0, program);
}

/** The launcher that a command begins with, and where its first option belongs. */
function launcherInCommand(
  command: string[],
): (Pick<Launcher, 'name'> & { option: { position: number; name: string } }) | null {
  const start = RUNNERS.has(programName(command[0])) && command[1] === 'run' ? 2 : 0;
  const [program, ...more] = command.slice(start);
  if (program === undefined) return null;
  const name = programName(program);
  const torchrun = (words: number) => ({
    name: 'torchrun' as const,
    option: { position: start + words, name: '--nproc_per_node' },
  });
  const accelerate = (words: number) => ({
    name: 'accelerate' as const,
    option: { position: start + words, name: '--num_processes' },
  });
  if (name === 'torchrun') return torchrun(1);
  if (name === 'accelerate' && more[0] === 'launch') return accelerate(2);
  if (name === 'accelerate-launch') return accelerate(1);
  if (!/^python[\d.]*$/.test(name)) return null;
  const module = more.indexOf('-m');
  // Options of Python's own may stand before, such as -u.
  if (module < 0 || more.slice(0, module).some((word) => !word.startsWith('-'))) return null;
  if (TORCHRUN_MODULES.has(more[module + 1])) return torchrun(module + 3);
  return more[module + 1] === ACCELERATE_MODULE ? accelerate(module + 3) : null;
}

function programName(word: string | undefined): string {
  return (word ?? '').split('/').at(-1)!;
}
