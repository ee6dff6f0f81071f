import { readNxJson, updateNxJson } from '@nx/devkit';
import { createTreeWithEmptyWorkspace } from '@nx/devkit/testing';
import init from './generator';

describe('init', () => {
  it('registers the plugin and adds the named input of trainings', async () => {
    const tree = createTreeWithEmptyWorkspace({ formatter: 'none' });
    await init(tree, { bucket: 'acme-training', instance: '' });
    const { plugins, namedInputs } = readNxJson(tree)!;
    expect(plugins).toEqual([{ plugin: 'nx-ec2', options: { bucket: 'acme-training' } }]);
    expect(namedInputs!.training).toEqual(expect.arrayContaining(['default', '!{projectRoot}/README*']));
  });

  it("keeps a plugin's options and a named input that are there, and changes nothing when it is run again", async () => {
    const tree = createTreeWithEmptyWorkspace({ formatter: 'none' });
    updateNxJson(tree, { plugins: ['other', 'nx-ec2'], namedInputs: { training: ['production'] } });
    await init(tree, { region: 'eu-west-1' });
    const once = tree.read('nx.json', 'utf8');
    expect(readNxJson(tree)).toMatchObject({
      plugins: ['other', { plugin: 'nx-ec2', options: { region: 'eu-west-1' } }],
      namedInputs: { training: ['production'] },
    });
    await init(tree, { region: 'us-east-1' });
    expect(tree.read('nx.json', 'utf8')).toBe(once);
  });
});
