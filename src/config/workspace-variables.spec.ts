import { isNx } from './workspace-variables';

describe('the process of nx', () => {
  it.each([
    ['node', '/ws/node_modules/.bin/nx', 'run', 'model:remote-train'],
    ['/usr/bin/node', '--max-old-space-size=4096', '/usr/lib/node_modules/nx/bin/nx.js', 'run-many'],
    ['node', '--require', './trace.js', '/ws/node_modules/nx/dist/bin/nx.js', 'affected'],
    ['bun', '/ws/node_modules/.bin/nx', 'run'],
  ])('is a JavaScript engine that runs nx: %s %s %s %s', (...words) => expect(isNx(words)).toBe(true));

  it.each([
    ['chamber', 'exec', 'team', '--', 'nx', 'run', 'model:remote-train'],
    ['aws-vault', 'exec', 'team', '--', '/ws/node_modules/.bin/nx', 'run'],
    ['node', '/usr/bin/dotenv', '-e', 'team.env', '--', 'nx', 'run'],
    ['npm exec nx run model:remote-train'],
    ['bash', '-c', 'nx run model:remote-train'],
    ['node', '/ws/nx-tools/main.js'],
    [''],
  ])('is not a program that only starts nx: %s %s %s %s', (...words) => expect(isNx(words)).toBe(false));
});
