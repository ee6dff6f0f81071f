import { Problem } from '../../report/problem';
import { assertNodes, formatNodes, nodesSetting, readNodes } from './nodes';
import type { Configuration } from './types';

const launched = { launchSpec: { recovery: 'none' }, startupTimeout: 1 };

function check(
  nodes: number,
  more: { [name: string]: unknown; instance?: object } = {},
  command?: string[],
  minNodes?: number,
) {
  const instances = [more.instance ?? launched].flat();
  const train = { nodes, minNodes, command };
  const configuration = { storeAccess: 'auto', ...more, instance: instances[0], instances, train };
  try {
    assertNodes(configuration as unknown as Configuration);
    return null;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return `${error.code}: ${error.what} ${error.next}`;
  }
}

describe('A training of several nodes', () => {
  it('runs on instances that are launched for it, which have a role', () => {
    expect(check(2)).toBeNull();
    expect(check(64, { storeAccess: 'role' })).toBeNull();
    expect(check(2, { instance: { launchSpec: { recovery: 'client' } } })).toBeNull();
  });

  it('does not run in a pool', () => {
    expect(check(2, { instance: { launchSpec: { pool: { name: 'gpu', size: 2 } } } })).toMatch(
      /"instance.pool" is set: a run uses one member of a pool\. Remove "pool" and "size"/,
    );
  });

  it('does not run on fewer instances that exist', () => {
    const id = (digit: number) => ({ id: `i-0123456789abcdef${digit}` });
    expect(check(2, { instance: id(0) })).toMatch(
      /^CONFIG_INVALID: "train.nodes" is 2, and "instance" names one instance\. Name 2: a list, or .* set "instance" to \{ "type"/,
    );
    expect(check(3, { instance: [id(0), { name: 'box' }] })).toMatch(/"instance" names 2 instances\. Name 3: a list/);
    expect(check(2, { instance: { tag: { cluster: 'a' } } })).toMatch(/"instance" names one instance/);
  });

  it('runs on as many instances that exist, or on some of more', () => {
    expect(check(2, { instance: [{ id: 'i-0123456789abcdef0' }, { name: 'box' }] })).toBeNull();
    expect(check(2, { instance: [{ name: 'a' }, { name: 'b' }, { name: 'c' }] })).toBeNull();
    expect(check(9, { instance: { tag: { cluster: 'a' }, all: true } })).toBeNull();
  });

  it('has as many fleets, outside of a placement group', () => {
    expect(check(3, { instance: { launchSpec: { recovery: 'fleet' } } })).toBeNull();
    expect(check(3, { instance: { launchSpec: { recovery: 'fleet' } } }, undefined, 2)).toBeNull();
    expect(check(3, { instance: { launchSpec: { recovery: 'fleet', placement: 'cluster' } } })).toMatch(
      /^CONFIG_INVALID: .*"cluster".* Leave out "placement"/,
    );
  });

  it('needs more than a presigned form', () => {
    expect(check(2, { storeAccess: 'presigned' })).toMatch(/^CONFIG_INVALID: .*"presigned".*instanceProfile/);
  });

  it.each([
    ['torchrun --standalone --nproc_per_node=gpu train.py', '--standalone'],
    ['uv run torchrun --nnodes=1 train.py', '--nnodes=1'],
    ['python -m torch.distributed.run --nnodes 1 -m pkg.train', '--nnodes'],
  ])('does not let %s train alone on each node', (command, option) => {
    const words = command.split(' ');
    expect(check(2, {}, words)).toMatch(`CONFIG_INVALID: "train.nodes" is 2, and "train.command" has ${option}, with`);
    expect(check(1, {}, words)).toBeNull();
  });

  it.each(['torchrun --nnodes=2 --nproc-per-node 8 train.py --standalone', 'python train.py --standalone'])(
    'leaves %s as it is',
    (command) => expect(check(2, {}, command.split(' '))).toBeNull(),
  );

  it('has a fixed number of nodes on instances that exist', () => {
    const instance = { tag: { cluster: 'a' }, all: true };
    expect(check(4, { instance }, undefined, 2)).toMatch(
      /^CONFIG_INVALID: "train.nodes" is 2:4, and "instance" names instances that exist.*Write the number of nodes: 4\./,
    );
    expect(check(4, {}, undefined, 2)).toBeNull();
  });

  it('may run on fewer nodes than it asks for', () => {
    expect(readNodes('2:4')).toEqual({ nodes: 4, minNodes: 2 });
    expect(readNodes(4)).toEqual({ nodes: 4 });
    expect([readNodes('1:4'), readNodes(4)].map(formatNodes)).toEqual(['1:4', '4']);
    expect([readNodes('2:4'), readNodes(4), readNodes(1)].map(nodesSetting)).toEqual(['2:4', 4, undefined]);
    for (const wrong of ['0:2', '4:2', '3:3', '2:65'])
      expect(() => readNodes(wrong)).toThrow(`"train.nodes" is ${wrong}, which is no range of nodes.`);
  });

  it('changes nothing for one node', () => {
    expect(check(1, { instance: { id: 'i-0123456789abcdef0' }, storeAccess: 'presigned' })).toBeNull();
  });
});
