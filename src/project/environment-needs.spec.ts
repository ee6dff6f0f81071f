import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Configuration } from '../config/settings/types';
import { environmentChoice } from '../config/environment/environment-choice';
import { detectEnvironment } from '../config/environment/environment';
import { environmentNeeds } from './environment-needs';

describe('the request that checks the tool of an environment', () => {
  /** The tool of a project in `model/`, in a workspace of these files. */
  function toolOf(files: Record<string, string>) {
    const workspaceRoot = mkdtempSync(join(tmpdir(), 'nx-ec2-needs-'));
    try {
      for (const [path, text] of Object.entries(files)) {
        mkdirSync(dirname(join(workspaceRoot, path)), { recursive: true });
        writeFileSync(join(workspaceRoot, path), text);
      }
      const train = { installer: 'uv', setup: null } as Configuration['train'];
      const choice = environmentChoice({});
      const paths = Object.keys(files);
      const found = detectEnvironment({ workspaceRoot, projectRoot: 'model', choice, paths });
      return environmentNeeds(found, train, workspaceRoot)?.tool;
    } finally {
      rmSync(workspaceRoot, { recursive: true });
    }
  }

  it('names the package indexes of its requirements files and of the included ones, each once', () => {
    const files = {
      'model/requirements.txt': '--index-url https://i/simple\n-r ../base.txt\ntorch\n',
      'base.txt': '-i https://i/simple\n-c model/limits.txt\n',
      'model/limits.txt': '-i https://other/simple\nnumpy<3\n',
      'model/unused.txt': '-i https://unused/simple\n',
    };
    expect(toolOf(files)).toEqual({
      manager: 'pip',
      installer: 'uv',
      locked: false,
      packageIndex: null,
      packageIndexes: ['https://i/simple', 'https://other/simple'],
    });
  });

  it('names none if the environment is not made of a requirements file', () => {
    const files = { 'model/pyproject.toml': '[project]\nname = "model"\n', 'model/requirements.txt': '-i https://i\n' };
    expect(toolOf(files)).toMatchObject({ manager: 'uv', packageIndexes: [] });
  });
});
