import { spawnSync } from 'node:child_process';
import { FRAMEWORKS, missingModules } from './frameworks/frameworks';
import { Trainings } from './frameworks/trainings';

const python = process.env.NX_EC2_TORCH_PYTHON;

// Each imports a framework several times; the processors may be busy with other work.
jest.setTimeout(500_000);

/** What a title says of a test that modules are missing for. */
function skippedFor(missing: readonly string[]): string {
  if (missing.length === 0) return '';
  return ` (skipped: ${python ? `${python} has no ${missing.join(', ')}` : 'NX_EC2_TORCH_PYTHON names no Python'})`;
}

/** Trainings with the frameworks themselves: with the Python that NX_EC2_TORCH_PYTHON names, as far as it has them. */
describe('a project of a framework, with the framework itself', () => {
  let trainings: Trainings;
  const modules = [...new Set(Object.values(FRAMEWORKS).flatMap((each) => each.modules))];
  const missing = python ? missingModules(python, modules) : modules;
  const isAnyThere = Object.values(FRAMEWORKS).some((each) => !each.modules.some((name) => missing.includes(name)));

  // Jest names no test of a file in which all are skipped.
  if (missing.length > 0) process.stderr.write(`e2e/frameworks.e2e.ts${skippedFor(missing)}\n`);

  beforeAll(async () => {
    if (isAnyThere) trainings = await Trainings.open(python!);
  });
  afterAll(() => trainings?.close());

  for (const [name, framework] of Object.entries(FRAMEWORKS)) {
    const absent = framework.modules.filter((module) => missing.includes(module));
    const test = absent.length > 0 ? it.skip : it;
    const skipped = skippedFor(absent);

    test(`${name}: is detected, trains, and is restored from the cache${skipped}`, async () => {
      expect(await trainings.detected(name)).toEqual(framework.detected);
      const { result, made } = await trainings.trained(name);
      expect(result.artifacts).toMatchObject({ extra: [], unsaved: [], heldBack: [] });
      for (const each of framework.results) expect(made).toContainEqual(expect.stringMatching(each));
      expect(made.filter((path) => !framework.results.some((each) => each.test(path)))).toEqual([]);
      expect(Object.keys(result.metrics).sort()).toEqual([...framework.metrics].sort());
      expect(await trainings.restored(name)).toEqual(made);
    });

    const { interrupted } = framework;
    if (!interrupted) continue;
    test(`${name}: ends with the same result after a spot interruption${skipped}`, async () => {
      const { run, result } = await trainings.interrupted(name, interrupted.pause, interrupted.unit);
      expect(result).toMatchObject({ success: true, attempts: 2, artifacts: { extra: [], unsaved: [] } });
      expect(run.text).toMatch(interrupted.resumed);
      const files = trainings.results(name, interrupted.result);
      const { stdout, stderr } = spawnSync(python!, [trainings.comparison, ...files], { encoding: 'utf8' });
      expect({ stdout, stderr }).toEqual({ stdout: 'the same\n', stderr: '' });
    });
  }

  const absent = FRAMEWORKS.nanogpt.modules.filter((module) => missing.includes(module));
  (absent.length > 0 ? it.skip : it)(
    `nanogpt: resumes from the last checkpoint of the run before${skippedFor(absent)}`,
    async () => {
      const run = await trainings.resumed('nanogpt', '--init_from=resume --max_iters=120');
      expect(run.text).toMatch(/Resuming training from out[^]*step 120: train loss/);
      expect(run.text).not.toMatch(/step (?:20|80): train loss/);
    },
  );
});
