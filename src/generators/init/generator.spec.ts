import { readNxJson, updateNxJson } from '@nx/devkit';
import { createTreeWithEmptyWorkspace } from '@nx/devkit/testing';
import init, { registerPlugin } from './generator';

/** What a generator's callback warns of. */
function printed(report: () => void): string {
  const warn = jest.spyOn(console, 'warn').mockImplementation(() => undefined);
  try {
    report();
    return warn.mock.calls.flat().join('\n');
  } finally {
    warn.mockRestore();
  }
}

describe('init', () => {
  it('registers the plugin and adds the named input of trainings', async () => {
    const tree = createTreeWithEmptyWorkspace({ formatter: 'none' });
    await registerPlugin(tree, { bucket: 'acme-training', instance: '' });
    const { plugins, namedInputs } = readNxJson(tree)!;
    expect(plugins).toEqual([{ plugin: 'nx-ec2', options: { bucket: 'acme-training' } }]);
    expect(namedInputs!.training).toEqual(expect.arrayContaining(['default', '!{projectRoot}/README*']));
  });

  it('keeps existing plugin options and named inputs, and changes nothing when it is run again', async () => {
    const tree = createTreeWithEmptyWorkspace({ formatter: 'none' });
    updateNxJson(tree, { plugins: ['other', 'nx-ec2'], namedInputs: { training: ['production'] } });
    await registerPlugin(tree, { region: 'eu-west-1' });
    const once = tree.read('nx.json', 'utf8');
    expect(readNxJson(tree)).toMatchObject({
      plugins: ['other', { plugin: 'nx-ec2', options: { region: 'eu-west-1' } }],
      namedInputs: { training: ['production'] },
    });
    const report = await registerPlugin(tree, { region: 'us-east-1' });
    expect(tree.read('nx.json', 'utf8')).toBe(once);
    expect(printed(report)).toBe(
      'nx.json has "region": "eu-west-1" for nx-ec2, which was kept. To use us-east-1, change it there.',
    );
    expect(printed(await registerPlugin(tree, { region: 'eu-west-1' }))).toBe('');
  });

  it('names PLUGIN.md in AGENTS.md once, and makes no AGENTS.md', async () => {
    const tree = createTreeWithEmptyWorkspace({ formatter: 'none' });
    await init(tree, {});
    expect(tree.exists('AGENTS.md')).toBe(false);
    tree.write('AGENTS.md', '# Rules\n\n- Test first.');
    for (let time = 0; time < 2; time++) await init(tree, {});
    expect(tree.read('AGENTS.md', 'utf8')).toBe(
      '# Rules\n\n- Test first.\n\n- nx-ec2 trains projects on AWS EC2 (targets `remote-*`): read node_modules/nx-ec2/PLUGIN.md before you change or run them.\n',
    );
  });

  it('refuses what is no name of a bucket, without advice to look at a stack trace', async () => {
    const tree = createTreeWithEmptyWorkspace({ formatter: 'none' });
    const asked = init(tree, { bucket: 's3://acme-training/v1' });
    await expect(asked).rejects.toMatchObject({
      stack: undefined,
      message: expect.stringContaining('Write acme-training:'),
    });
    expect(readNxJson(tree)!.plugins).toBeUndefined();
  });

  it('leaves package.json as it is, and prints the next three commands', async () => {
    const tree = createTreeWithEmptyWorkspace({ formatter: 'none' });
    const log = jest.spyOn(console, 'log').mockImplementation(() => undefined);
    try {
      const before = tree.read('package.json', 'utf8');
      await (
        await init(tree, { bucket: 'acme-ml' })
      )();
      expect(tree.read('package.json', 'utf8')).toBe(before);
      const printedLines = log.mock.calls.flat().join('\n').split('\n');
      expect(printedLines.filter((line) => line.startsWith('  npx nx '))).toHaveLength(3);
      expect(printedLines.join('\n')).toContain('nx g nx-ec2:aws-setup --bucket=acme-ml ');
      // The bucket that is kept is the one to set up.
      jest.spyOn(console, 'warn').mockImplementationOnce(() => undefined);
      await (
        await init(tree, { bucket: 'other-ml' })
      )();
      const last = String(log.mock.calls.at(-1)![0]);
      expect(last).toContain('nx g nx-ec2:aws-setup --bucket=acme-ml ');
    } finally {
      log.mockRestore();
    }
  });
});
