import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FsTree } from 'nx/src/generators/tree';
import { runGenerator } from './run-generator';

describe('a generator', () => {
  let top: string;
  let root: string;
  beforeEach(() => {
    top = mkdtempSync(join(tmpdir(), 'nx-ec2-generator-'));
    root = join(top, 'workspace');
    mkdirSync(join(root, 'libs'), { recursive: true });
    mkdirSync(join(top, 'outside'));
  });
  afterEach(() => rmSync(top, { recursive: true }));

  const write = (path: string) => {
    const tree = new FsTree(root, false);
    return runGenerator(tree, async () => tree.write(path, 'text'));
  };

  it.each([
    ['a link to a directory outside', 'models', '../outside', 'models/new/train.py'],
    ['a link to nothing', 'models', '../nowhere', 'models/new/train.py'],
    ['a file that is a link to one outside', 'libs/train.py', '../../outside/file', 'libs/train.py'],
    ['a link to the directory above', 'models', '..', 'models/train.py'],
    ['a link to a directory whose name begins like the workspace', 'models', '../workspace-2', 'models/train.py'],
  ])('writes nothing through %s', async (_, link, target, path) => {
    writeFileSync(join(top, 'outside/file'), '');
    mkdirSync(join(top, 'workspace-2'));
    symlinkSync(target, join(root, link));
    const refused = write(path);
    await expect(refused).rejects.toMatchObject({ code: 'DIRECTORY_OUTSIDE', stack: undefined });
    await expect(refused).rejects.toThrow(path);
  });

  it.each(['models/train.py', '..models/train.py'])(
    'writes %s, also through a link within the workspace',
    async (path) => {
      symlinkSync('libs', join(root, 'models'));
      await expect(write(path)).resolves.toBeUndefined();
    },
  );
});
