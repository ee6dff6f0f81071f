// Runs src/runtime/tests/real_torch*.py: trainings of several processes with real torch, on the CPU. The Python is the one that
// NX_EC2_TORCH_PYTHON names; else torch is installed once into .cache/torch. Skipped, with the reason, if it can't be installed;
// with --required that is a failure.
import { testWithPackages } from './python-with-packages.mjs';

/** A tenth of the size of the default wheels, which bring CUDA. */
const CPU_INDEX = 'https://download.pytorch.org/whl/cpu';

testWithPackages({
  name: 'torch',
  variable: 'NX_EC2_TORCH_PYTHON',
  module: 'torch.distributed.run',
  pattern: 'real_torch*.py',
  installs: [
    ['--retries=0', '--timeout=15', `--index-url=${CPU_INDEX}`, 'torch', 'numpy'],
    ['torch', 'numpy'],
  ],
});
