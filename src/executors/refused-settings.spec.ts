import { Workshop } from './lib/executor-harness.fixture';

// It lists files in a thread that loads TypeScript by itself; what is sent to AWS is the same.
jest.mock('../workspace/files/fresh-listing', () => ({
  FreshListing: class {
    prepare() {}
    list = async () => ['model/project.json'];
    async close() {}
  },
}));

const PROFILE = { instanceProfile: 'nx-ec2' };

describe('a value of the configuration that AWS refuses', () => {
  let shop: Workshop;
  beforeAll(async () => (shop = await Workshop.open()));
  afterAll(() => shop.close());

  /** What a target prints that fails with these values in ec2.config.json. */
  async function refused(target: string, file: object): Promise<string> {
    shop.write('model/ec2.config.json', JSON.stringify({ bucket: 'bucket', instance: { name: 'box' }, ...file }));
    await expect(shop.run(target, { bucket: undefined, instance: undefined, json: false })).rejects.toThrow();
    return shop.printed;
  }

  it.each<[string, string, object, string]>([
    ['an id of no form', 'remote-sync', { instance: 'i-xyz' }, 'instance: "i-xyz"'],
    ['an unknown id', 'remote-sync', { instance: 'i-0123456789abcdef0' }, 'instance: "i-0123456789abcdef0"'],
    ['an unknown name', 'remote-sync', { instance: 'gpu-box' }, 'instance: "gpu-box"'],
    ['an unknown tag', 'remote-sync', { instance: { tag: { Team: 'x' } } }, 'instance: {"tag":{"Team":"x"}}'],
    ['an unknown bucket', 'remote-sync', { bucket: 'acme-trianing' }, 'bucket: "acme-trianing"'],
    ['an unknown profile', 'remote-sync', { profile: 'acme-dev' }, 'profile: "acme-dev"'],
    ['a type', 'remote-up', { instance: { ...PROFILE, type: 'g5.huge' } }, 'instance.type: "g5.huge"'],
    [
      'an image',
      'remote-up',
      { instance: { ...PROFILE, type: 't3.micro', ami: 'ami-0123456789abcdef0' } },
      'instance.ami: "ami-0123456789abcdef0"',
    ],
    [
      'a subnet',
      'remote-up',
      { instance: { ...PROFILE, type: 't3.micro', subnet: 'subnet-0123456789abcdef0' } },
      'instance.subnet: "subnet-0123456789abcdef0"',
    ],
    [
      'a security group',
      'remote-up',
      { instance: { ...PROFILE, type: 't3.micro', securityGroups: ['sg-0123456789abcdef0'] } },
      'instance.securityGroups: ["sg-0123456789abcdef0"]',
    ],
    ['no instance profile', 'remote-up', { instance: { type: 't3.micro' } }, 'instance: {"type":"t3.micro"}'],
  ])('is named with the file and the key that it is from: %s', async (_name, target, file, line) => {
    const printed = await refused(target, file);
    expect(printed.split('\n')).toContain(`  model/ec2.config.json: ${line}`);
  });

  it('is named by the doctor as well, and by a variable where the configuration has none', async () => {
    const printed = await refused('remote-doctor', { instance: 'i-0123456789abcdef0', bucket: 'acme-trianing' });
    expect(printed).toContain('->   model/ec2.config.json: bucket: "acme-trianing"');
    expect(printed).toContain('->   model/ec2.config.json: instance: "i-0123456789abcdef0"');
    expect(printed).toContain(`->   AWS_REGION=${process.env.AWS_REGION}`);
  });
});
