// Runs src/runtime/tests/real_ray*.py: trainings on a Ray cluster with real Ray, on the CPU. The Python is the one that
// NX_EC2_RAY_PYTHON names; else Ray is installed once into .cache/ray. Skipped, with the reason, if it can't be installed; with
// --required that is a failure.
import { testWithPackages } from './python-with-packages.mjs';

testWithPackages({
  name: 'ray',
  variable: 'NX_EC2_RAY_PYTHON',
  module: 'ray.tune',
  pattern: 'real_ray*.py',
  installs: [['ray[default,client,tune]']],
});
