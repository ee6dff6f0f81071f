import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { detectEnvironment } from './environment';

const PACKAGE = '[project]\nname = "x"\n';

describe('the Python environment of a project', () => {
  let workspaceRoot: string;
  beforeEach(() => void (workspaceRoot = mkdtempSync(join(tmpdir(), 'environment-'))));
  afterEach(() => rmSync(workspaceRoot, { recursive: true }));

  const detect = (files: Record<string, string>) => {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(workspaceRoot, dirname(path)), { recursive: true });
      writeFileSync(join(workspaceRoot, path), text);
    }
    return detectEnvironment({
      workspaceRoot,
      projectRoot: 'python/apps/model',
      paths: Object.keys(files),
      environment: 'auto',
    });
  };

  it.each(['uv.lock', 'python/uv.lock', 'python/apps/uv.lock', 'python/apps/model/uv.lock'])(
    'is locked by %s, at any height above its manifest',
    async (lock) => {
      expect(await detect({ 'python/apps/model/pyproject.toml': PACKAGE, [lock]: '' })).toEqual({
        manager: 'uv',
        root: 'python/apps/model',
        file: 'pyproject.toml',
        locked: true,
      });
    },
  );

  it('is not locked by a lock file beside the way up', async () => {
    const found = await detect({ 'python/apps/model/pyproject.toml': PACKAGE, 'python/apps/other/uv.lock': '' });
    expect(found).toMatchObject({ manager: 'uv', locked: false });
  });

  it('is made with the nearest manifest', async () => {
    const found = await detect({ 'requirements.txt': '', 'python/environment.yml': '' });
    expect(found).toEqual({ manager: 'conda', root: 'python', file: 'environment.yml', locked: false });
  });
});
