import fc from 'fast-check';
import { Problem } from '../../report/problem';
import { sanitizeForTerminal } from '../../report/terminal-text';
import { withOrigins, type SettingSource } from './setting-origins';

const file = 'model/ec2.config.json';
const nxJson = 'the options of nx-ec2 in nx.json';

function added(settings: string[], sources: SettingSource[], environment: NodeJS.ProcessEnv = {}): string[] {
  const problem = new Problem('INTERNAL', 'AWS refuses it.', { next: 'Check it.', settings });
  return withOrigins(problem, sources, environment).message.split('\n').slice(2);
}

describe('the place of a setting that a problem is about', () => {
  it('is the one of highest precedence that has a value', () => {
    const sources = [
      { where: 'the options of model:remote-train', values: {} },
      { where: file, values: { instance: { type: 'g5.xlarge' }, bucket: 'acme' } },
      { where: nxJson, values: { instance: { type: 't3.micro', subnet: ['subnet-0'] }, bucket: 'other' } },
    ];
    expect(added(['bucket', 'instance.type', 'instance.subnet', 'instance.ami', 'prefix'], sources)).toEqual([
      `  ${file}: bucket: "acme"`,
      `  ${file}: instance.type: "g5.xlarge"`,
      `  ${nxJson}: instance.subnet: ["subnet-0"]`,
    ]);
  });

  it('is not looked for below an instance that is named', () => {
    const sources = [
      { where: file, values: { instance: { tag: { Team: 'vision' } } } },
      { where: nxJson, values: { instance: { type: 't3.micro' } } },
    ];
    expect(added(['instance', 'instance.type'], sources)).toEqual([`  ${file}: instance: {"tag":{"Team":"vision"}}`]);
  });

  it('is a variable if the configuration has no value', () => {
    const environment = { AWS_DEFAULT_REGION: 'eu-west-9', AWS_PROFILE: 'acme' };
    const sources = [{ where: file, values: { profile: 'ours' } }];
    expect(added(['region', 'profile'], sources, environment)).toEqual([
      '  AWS_DEFAULT_REGION=eu-west-9',
      `  ${file}: profile: "ours"`,
    ]);
  });

  it('is shown without a value that may be confidential', () => {
    const sources = [
      {
        where: file,
        values: { train: { secrets: { TOKEN: 'hush' } }, instance: { type: 't3.micro', userData: '#!hush' } },
      },
    ];
    expect(added(['train.secrets.TOKEN', 'instance.userData', 'instance'], sources)).toEqual([
      `  ${file}: train.secrets.TOKEN`,
      `  ${file}: instance.userData`,
      `  ${file}: instance: {"type":"t3.micro","userData":"…"}`,
    ]);
  });

  it('is added once, and the rest of the error stays', () => {
    const problem = Object.assign(new Problem('INTERNAL', 'No.', { settings: ['bucket'] }), { result: { run: 'r' } });
    const sources = [{ where: file, values: { bucket: 'acme' } }];
    const located = withOrigins(problem, sources, {});
    expect(located).toMatchObject({ code: 'INTERNAL', what: 'No.', result: { run: 'r' } });
    expect(located.message).toBe(`No.\n  ${file}: bucket: "acme"`);
    expect(withOrigins(located, sources, {})).toBe(located);
  });

  it('is shown on one line that is safe to print, whatever the value is', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary' }),
        fc.anything(),
        fc.string({ unit: 'binary' }),
        (where, value, region) => {
          const lines = added(['bucket', 'region'], [{ where, values: { bucket: value } }], { AWS_REGION: region });
          expect(lines.length).toBe((value === undefined ? 0 : 1) + (region ? 1 : 0));
          for (const line of lines) expect(sanitizeForTerminal(line)).toBe(line);
        },
      ),
    );
  });
});
