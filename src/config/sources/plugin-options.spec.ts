import fc from 'fast-check';
import { findMatchingConfigFiles } from 'nx/src/devkit-internals';
import { pluginOptions } from './plugin-options';

const entry = (options: object, include?: string[], exclude?: string[]) => ({
  plugin: 'nx-ec2',
  options,
  include,
  exclude,
});

describe('the options of nx-ec2 in nx.json', () => {
  const nxJson = {
    plugins: [
      '@nx/js',
      entry({ bucket: 'shared', region: 'eu-west-1', trainTargetName: 'fit' }),
      entry({ bucket: 'vision', train: { timeout: '8h' } }, ['vision/**'], ['vision/old/*']),
      { plugin: 'other', options: { bucket: 'wrong' } },
    ],
  };

  it('come from all entries that apply to a project, later ones overriding earlier ones', () => {
    expect(pluginOptions(nxJson, 'speech')).toEqual({ bucket: 'shared', region: 'eu-west-1' });
    expect(pluginOptions(nxJson, 'vision/new')).toEqual({
      bucket: 'vision',
      region: 'eu-west-1',
      train: { timeout: '8h' },
    });
    expect(pluginOptions(nxJson, 'vision/old').bucket).toBe('shared');
    expect(pluginOptions({ plugins: ['nx-ec2'] }, '.')).toEqual({});
    expect(pluginOptions({}, 'a')).toEqual({});
  });

  it('apply to the projects that Nx applies an entry to', () => {
    const name = fc.constantFrom('a', 'b', '.c', 'models', 'x-1');
    const root = fc.oneof(
      fc.constant('.'),
      fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => names.join('/')),
    );
    const part = fc.oneof(name, fc.constantFrom('*', '**', '{a,b}', '[ab]', '*-1', '.*', 'm?dels'));
    const pattern = fc
      .tuple(
        fc.boolean(),
        fc.array(part, { maxLength: 3 }),
        fc.constantFrom('**', '*', 'ec2.config.json', '*.json', '**/*'),
      )
      .map(([isNegated, parts, last]) => `${isNegated ? '!' : ''}${[...parts, last].join('/')}`);
    const patterns = fc.array(pattern, { maxLength: 3 });
    fc.assert(
      fc.property(root, patterns, patterns, (project, include, exclude) => {
        const file = project === '.' ? 'ec2.config.json' : `${project}/ec2.config.json`;
        const applies = findMatchingConfigFiles([file], include, exclude).length > 0;
        const options = pluginOptions({ plugins: [entry({ bucket: 'x' }, include, exclude)] }, project);
        expect(options).toEqual(applies ? { bucket: 'x' } : {});
      }),
      { numRuns: 300 },
    );
  });
});
