import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

const ROOT = join(__dirname, '../../..');
const ACTIONS = [
  ...['StartInstances', 'RebootInstances', 'StopInstances', 'TerminateInstances'],
  ...['DeleteFleets', 'ModifyFleet', 'CancelSpotInstanceRequests', 'CancelSpotFleetRequests'],
  ...['DeleteLaunchTemplate', 'DeleteLaunchTemplateVersions', 'DeleteVolume', 'DeletePlacementGroup'],
];

/** Jest can't load ESLint's configuration, which is an ES module. */
const LINT = `
const { ESLint } = require('eslint');
(async () => {
  const eslint = new ESLint();
  const cases = JSON.parse(require('fs').readFileSync(0, 'utf8'));
  const reported = [];
  for (const { code, file } of cases) {
    const [{ messages }] = await eslint.lintText(code, { filePath: file });
    reported.push(messages.filter(({ ruleId }) => ruleId === 'no-restricted-syntax').length > 0);
  }
  console.log(JSON.stringify(reported));
})();
`;

/** Whether the rule reports each piece of code in each file. */
function reported(cases: { code: string; file: string }[]): boolean[] {
  const input = JSON.stringify(cases.map(({ code, file }) => ({ code, file: join(ROOT, file) })));
  return JSON.parse(execFileSync(process.execPath, ['-e', LINT], { cwd: ROOT, input, encoding: 'utf8' }));
}

describe('the lint rule that only one folder may stop, terminate or delete resources of EC2', () => {
  const uses = ACTIONS.flatMap((action) => [
    `import { ${action}Command } from '@aws-sdk/client-ec2';\nexport const a = new ${action}Command({});`,
    `import * as ec2 from '@aws-sdk/client-ec2';\nexport const a = new ec2.${action}Command({});`,
    `import { sdk } from '../aws/sdk';\nconst { ${action}Command: Request } = sdk.ec2();\nexport const a = new Request({});`,
    `import { sdk } from '../aws/sdk';\nexport const a = sdk.ec2()['${action}Command'];`,
  ]);

  it('reports each such request in another folder, however it is written', () => {
    const files = [
      'src/run/stop/cancel.ts',
      'src/instance/launch/launcher.ts',
      'src/cli/clean.ts',
      'src/executors/lib/process-signals.ts',
    ];
    const cases = uses.map((code, n) => ({ code, file: files[n % files.length] }));
    const found = reported(cases);
    expect(cases.filter((_, n) => !found[n])).toEqual([]);
  });

  it('allows these requests in the folder, and the names of permissions everywhere', () => {
    const permission = { code: `export const a = 'ec2:TerminateInstances';`, file: 'src/aws/permissions/needs.ts' };
    const inside = uses.map((code) => ({ code, file: 'src/instance/stop/terminate.ts' }));
    expect(reported([permission, ...inside])).toEqual([permission, ...inside].map(() => false));
  });
});

/** What the instance and the scheduled document end is Python, which ESLint does not read. */
describe('the Python files', () => {
  const files = ['src/runtime', 'src/generators/aws-setup'].flatMap((directory) =>
    readdirSync(join(ROOT, directory), { recursive: true, encoding: 'utf8' })
      .filter((path) => path.endsWith('.py') && !path.startsWith('tests/'))
      .map((name) => join(ROOT, directory, name)),
  );
  const naming = (pattern: RegExp) =>
    files.filter((file) => pattern.test(readFileSync(file, 'utf8'))).map((file) => relative(ROOT, file));
  const snake = (action: string) =>
    action.replace(/[A-Z]/g, (letter, at: number) => (at ? '_' : '') + letter.toLowerCase());

  it('of the instance delete a fleet and its template only in ec2_api.py, and end nothing else', () => {
    expect(files.length).toBeGreaterThan(50);
    const ends = (action: string) => naming(new RegExp(`(ask|read)\\(\\s*["']${action}["']`));
    expect(Object.fromEntries(ACTIONS.map((action) => [action, ends(action)]))).toEqual({
      ...Object.fromEntries(ACTIONS.map((action) => [action, []])),
      DeleteFleets: ['src/runtime/fleet/ec2_api.py'],
      DeleteLaunchTemplate: ['src/runtime/fleet/ec2_api.py'],
    });
  });

  it('of the account end instances and fleets only in deadline.py', () => {
    const ends = (action: string) => naming(new RegExp(`\\.${snake(action)}\\(`));
    const only = ['src/generators/aws-setup/deadline.py'];
    expect(Object.fromEntries(ACTIONS.map((action) => [action, ends(action)]))).toEqual({
      ...Object.fromEntries(ACTIONS.map((action) => [action, []])),
      StopInstances: only,
      TerminateInstances: only,
      DeleteFleets: only,
    });
  });
});
