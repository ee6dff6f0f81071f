import { selectingOptions } from './selecting-options';
import { parseText } from '../../workspace/typed-options';

const GIVEN = {
  region: 'eu-west-1',
  profile: 'a b',
  bucket: 'bucket',
  instance: { pool: 'team', size: 2, idleTimeout: false, type: ['g5.xlarge', 'g6.xlarge'], tags: { Team: 'vision' } },
};

it('repeats what chooses the instance, the account and the store, as a command line has it', () => {
  const words = selectingOptions({
    ...GIVEN,
    args: '--epochs 3',
    train: { script: 'a.py' },
    pricePerHour: 3,
    json: true,
  });
  expect(words).toEqual([
    '--region=eu-west-1',
    '--profile=a b',
    '--bucket=bucket',
    '--instance.pool=team',
    '--instance.size=2',
    '--instance.idleTimeout=false',
    '--instance.type=g5.xlarge',
    '--instance.type=g6.xlarge',
    '--instance.tags.Team=vision',
  ]);
  // Nx reads the same from it, with text for what is a number or a boolean.
  const text = (value: unknown) =>
    JSON.parse(
      JSON.stringify(value, (_, each: unknown) => (/number|boolean/.test(typeof each) ? String(each) : each)),
    ) as object;
  expect(parseText(words)).toMatchObject(text(GIVEN));
});

it.each([
  ['i-0123456789abcdef0', ['--instance=i-0123456789abcdef0']],
  [
    ['one', 'two'],
    ['--instance=one', '--instance=two'],
  ],
  [{ tag: { Role: 'train' }, all: true }, ['--instance.tag.Role=train', '--instance.all=true']],
  // What may be a secret is not printed, and a list of objects has no form.
  [{ type: 't3.micro', userData: '#!/bin/sh\nTOKEN=1' }, ['--instance.type=t3.micro']],
  [[{ id: 'i-0123456789abcdef0' }], []],
  [undefined, []],
])('writes %j as options', (instance, words) => {
  expect(selectingOptions({ instance })).toEqual(words);
});
