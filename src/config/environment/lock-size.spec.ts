import fc from 'fast-check';
import { downloadSize } from './lock-size';

const LOCK = `version = 1
[[package]]
name = "app"
source = { editable = "apps/app" }
dependencies = [
  { name = "torch", extra = ["cuda"] },
  { name = "winonly", marker = "sys_platform == 'win32'" },
  { name = "both", marker = "python_full_version < '3.12'" },
]
[package.dev-dependencies]
dev = [{ name = "pytest" }]

[[package]]
name = "other"
source = { editable = "apps/other" }
dependencies = [{ name = "huge" }]

[[package]]
name = "torch"
source = { registry = "https://pypi.org/simple" }
dependencies = [{ name = "torch" }, { name = "both" }]
wheels = [
  { url = "https://f/torch-2-cp311-cp311-manylinux_2_28_x86_64.whl", hash = "sha256:0", size = 900 },
  { url = "https://f/torch-2-cp311-cp311-manylinux_2_28_aarch64.whl", hash = "sha256:0", size = 100 },
  { url = "https://f/torch-2-cp311-cp311-win_amd64.whl", hash = "sha256:0", size = 5000 },
  { url = "https://f/torch-2-cp311-none-macosx_11_0_arm64.whl", hash = "sha256:0", size = 1 },
]
[package.optional-dependencies]
cuda = [{ name = "nvidia" }]

[[package]]
name = "nvidia"
wheels = [{ filename = "nvidia-1-py3-none-any.whl", size = 20 }]
[[package]]
name = "both"
sdist = { url = "https://f/both-1.tar.gz", size = 3 }
[[package]]
name = "pytest"
wheels = [{ url = "https://f/pytest-8-py3-none-any.whl", size = 4 }]
[[package]]
name = "winonly"
wheels = [{ url = "https://f/winonly-8-py3-none-any.whl", size = 10000 }]
[[package]]
name = "huge"
wheels = [{ url = "https://f/huge-8-py3-none-any.whl", size = 50000 }]
`;

describe('the size of what a uv.lock downloads', () => {
  it('is between the sums of the smallest and of the largest wheels that the project needs on Linux', () => {
    expect(downloadSize(LOCK, 'apps/app')).toEqual({ least: 127, most: 927 });
    expect(downloadSize(LOCK, 'apps/other')).toEqual({ least: 50000, most: 50000 });
  });

  it('includes all packages if the lock file does not name the project', () => {
    expect(downloadSize(LOCK, 'elsewhere')).toEqual({ least: 60127, most: 60927 });
  });

  it('is unknown if the file has no sizes, or if it is not a lock file', () => {
    expect(downloadSize(LOCK.replace(/, size = \d+/g, ''), 'apps/app')).toBeNull();
    fc.assert(fc.property(fc.string(), (text) => downloadSize(text, '') === null));
  });
});
