import { launcherOf } from './launcher';

const none = { launcher: 'none' as const };
const auto = { launcher: 'auto' as const };
const torchrun = { launcher: 'torchrun' as const };

describe('launcherOf', () => {
  it('is none for a training that configures none', () => {
    for (const command of [null, ['torchrun', 'train.py'], ['python', 'train.py']]) {
      expect(launcherOf(auto, command)).toBeNull();
      expect(launcherOf(none, command)).toBeNull();
    }
  });

  it('starts one process for each GPU with torchrun, or as many as configured', () => {
    expect(launcherOf(torchrun, null)).toEqual({ name: 'torchrun', processes: 'gpu', option: null });
    expect(launcherOf({ ...torchrun, processes: 4 }, ['python', '-m', 'pkg.train'])).toEqual({
      name: 'torchrun',
      processes: 4,
      option: null,
    });
  });

  it.each([
    ['torchrun --nnodes=1 train.py', 'torchrun', 1],
    ['/opt/env/bin/torchrun train.py', 'torchrun', 1],
    ['python -m torch.distributed.run train.py', 'torchrun', 3],
    ['python3.11 -u -m torch.distributed.run train.py', 'torchrun', 4],
    ['uv run torchrun train.py', 'torchrun', 3],
    ['poetry run python -m torch.distributed.launch train.py', 'torchrun', 5],
    ['accelerate launch train.py', 'accelerate', 2],
    ['accelerate-launch train.py', 'accelerate', 1],
    ['python -m accelerate.commands.launch train.py', 'accelerate', 3],
  ])('finds where %s takes the number of processes', (command, name, position) => {
    expect(launcherOf({ ...auto, processes: 'gpu' }, command.split(' '))).toEqual({
      name,
      processes: 'gpu',
      option: { position, name: name === 'torchrun' ? '--nproc_per_node' : '--num_processes' },
    });
  });

  it.each([
    ['python train.py'],
    ['python train.py -m torch.distributed.run'],
    ['python -m pkg torchrun'],
    ['accelerate config'],
    ['uv sync'],
    ['bash torchrun'],
  ])('refuses processes with %s, which starts no launcher', (command) => {
    expect(() => launcherOf({ ...auto, processes: 2 }, command.split(' '))).toThrow('no launcher starts the training');
  });

  it('refuses processes that would be ignored, and a launcher that starts a launcher', () => {
    expect(() => launcherOf({ ...auto, processes: 2 }, null)).toThrow('no launcher starts the training');
    expect(() => launcherOf({ ...none, processes: 2 }, ['torchrun', 'train.py'])).toThrow(
      'no launcher starts the training',
    );
    expect(() => launcherOf(torchrun, ['torchrun', 'train.py'])).toThrow('already starts torchrun');
    expect(() => launcherOf(torchrun, ['accelerate', 'launch', 'train.py'])).toThrow('already starts accelerate');
  });

  it('runs the script or command once on a Ray cluster, whose workers the script asks for', () => {
    const ray = { launcher: 'ray' as const };
    expect(launcherOf(ray, null)).toEqual({ name: 'ray', processes: 1, option: null });
    expect(launcherOf({ ...ray, nodes: 3 }, ['python', '-m', 'pkg.tune'])).toMatchObject({ name: 'ray' });
    expect(() => launcherOf({ ...ray, processes: 2 }, null)).toThrow('the script itself asks Ray for its workers');
    expect(() => launcherOf(ray, ['torchrun', 'train.py'])).toThrow('already starts torchrun, and "launcher" is ray');
  });

  it('gives Accelerate its options on several nodes, and leaves torchrun to its variables', () => {
    const accelerate = ['accelerate', 'launch', 'train.py'];
    expect(launcherOf({ launcher: 'auto', nodes: 2 }, accelerate)).toEqual({
      name: 'accelerate',
      processes: 'gpu',
      option: { position: 2, name: '--num_processes' },
    });
    expect(launcherOf({ launcher: 'auto', nodes: 1 }, accelerate)).toBeNull();
    expect(launcherOf({ launcher: 'none', nodes: 2 }, accelerate)).toBeNull();
    expect(launcherOf({ launcher: 'auto', nodes: 2 }, ['torchrun', 'train.py'])).toBeNull();
  });
});
