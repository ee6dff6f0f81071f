import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { program } from './programs';

const uv = program('uv');
const tests = join(__dirname, '../../src/runtime/tests');

describe('the runtime with uv', () => {
  (uv ? it : it.skip)(
    `installs what pip installs, and keeps uv's cache${uv ? '' : ' (skipped: uv is not here)'}`,
    () => {
      const chosen = [
        'test_environment.UvPipTest.test_uv_installs_the_packages_that_pip_installs',
        'test_uv_cache.SharedTest.test_packages_are_fetched_once_also_for_a_user_who_is_not_root',
      ];
      const { status, stderr } = spawnSync('python3', ['-B', '-m', 'unittest', '-v', ...chosen], {
        cwd: tests,
        env: { ...process.env, NX_EC2_TEST_UV: uv! },
        encoding: 'utf8',
      });
      expect(stderr).toMatch(/\nOK/);
      expect(status).toBe(0);
    },
  );
});
