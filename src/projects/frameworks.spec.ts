import { FRAMEWORKS } from './frameworks.fixture';
import { TrainingProjects } from './projects.fixture';

// Each trains several times.
describe('a project of a framework', () => {
  let projects: TrainingProjects;
  beforeAll(async () => void (projects = await TrainingProjects.open(FRAMEWORKS)));
  afterAll(() => projects.close());

  it('of Hydra keeps the directory of each run and of each sweep', async () => {
    await projects.expectTrained('hydra');
    const now = '2026-11-28/11-00-00';
    const of = (at: string) =>
      ['.hydra/config.yaml', '.hydra/hydra.yaml', '.hydra/overrides.yaml', 'model.pt', 'train.log'].map(
        (each) => `${at}/${each}`,
      );
    await projects.expectPiledUp(
      'hydra',
      { path: 'conf/config.yaml', content: `lr: 0.25\nsweep: 0.5\nnow: ${now}\n` },
      [...of(`multirun/${now}/0`), ...of(`outputs/${now}`), `multirun/${now}/multirun.yaml`],
    );
  });

  it('of Lightning gets the next version, and resumes from the checkpoints of the one before', async () => {
    await projects.expectTrained('lightning');
    const at = 'lightning_logs/version_1';
    await projects.expectPiledUp(
      'lightning',
      { path: 'steps.txt', content: '16\n', resumeFrom: 'last' },
      ['hparams.yaml', 'metrics.csv', 'checkpoints/epoch=0-step=16.ckpt'].map((each) => `${at}/${each}`),
    );
    expect(projects.read('lightning', `${at}/checkpoints/epoch=0-step=16.ckpt`)).toBe('from epoch=0-step=8.ckpt');
  });

  it('of the Trainer resumes from the last of its checkpoints, in the output directory', async () => {
    await projects.expectTrained('trainer');
    expect(projects.read('trainer', 'output/model.safetensors')).toBe('steps 1 to 4');
    projects.write('trainer', 'config.json', '{"max_steps": 6}');
    const { metrics } = await projects.train('trainer', { resumeFrom: 'last' });
    expect(metrics).toMatchObject({ epoch: 3 });
    expect(projects.read('trainer', 'output/model.safetensors')).toBe('steps 5 to 6');
    expect(projects.read('trainer', 'output/checkpoint-6/model.safetensors')).toBe('model.safetensors 6');
  });

  it('of W&B brings its offline runs and the files that its links lead to', async () => {
    const { printed } = await projects.expectTrained('wandb');
    expect(printed.match(/left on the instance: .*/g)).toEqual([
      'left on the instance: wandb/latest-run (a symbolic link to wandb/offline-run-20261128_100000-abcd1234, whose files come back), ' +
        'wandb/offline-run-20261128_100000-abcd1234/logs/debug-core.log (a symbolic link)',
    ]);
  });
});
