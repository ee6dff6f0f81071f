/** Files of the workspace's root that decide how a project's Python environment is made: they travel and are inputs. */
export const ROOT_FILES = [
  'pyproject.toml',
  'uv.lock',
  'poetry.lock',
  '.python-version',
  'requirements.txt',
  'environment.yml',
];
