import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assertNames } from './local-aws';
import { readPort } from './read-port';
import { readFaults } from './local-aws-faults';

describe('the options of nx-ec2 local-aws', () => {
  it('accept a port only in digits', () => {
    expect(['0', '80', '65535'].map(readPort)).toEqual([0, 80, 65535]);
    for (const text of ['', ' ', '1e4', '0x50', '-1', '65536', '4566a'])
      expect(() => readPort(text)).toThrow('--port takes 0 to 65535');
  });

  it('are refused if they are empty', () => {
    const names = { directory: 'state', region: 'eu-west-1', bucket: 'nx-ec2-local', instance: 'local' };
    assertNames(names);
    for (const name of Object.keys(names))
      expect(() => assertNames({ ...names, [name]: '' })).toThrow(`--${name} is empty`);
    expect(() => assertNames({ ...names, region: 'Ireland' })).toThrow('--region: must be the id of a region');
    expect(() => assertNames({ ...names, bucket: 'Bad_Name' })).toThrow('--bucket: must be the name');
  });

  it('accept a list of faults if each of them is known', () => {
    const directory = mkdtempSync(join(tmpdir(), 'nx-ec2-faults-'));
    const file = join(directory, 'faults.json');
    const read = (text: string) => {
      writeFileSync(file, text);
      return readFaults(file);
    };
    const faults = [
      { service: 's3', action: 'PUT', after: 3, cut: 'after' },
      { service: 'ssm', times: 2, error: { code: 'ThrottlingException', status: 400 } },
      { service: 'session', action: 'output', frame: 'swap', bytes: 10 },
    ];
    const limit = { type: 'g5.xlarge', market: 'spot', instances: 2 };
    const interrupt = { index: 1, after: 20_000, notice: 30_000, times: 2 };
    expect(read(JSON.stringify([...faults, { capacity: limit }, { interrupt }]))).toEqual({
      faults,
      capacity: [limit],
      interruptions: [interrupt],
    });
    const wrong = ['', '{}', '[{"servise":"s3"}]', '[{"cut":"now"}]', '[{"times":"2"}]', '[null]'];
    const wrongLimits = [
      '[{"capacity":{"instances":-1}}]',
      '[{"capacity":{"code":"Other"}}]',
      '[{"capacity":{},"after":1}]',
      '[{"interrupt":{"after":"20s"}}]',
      '[{"interrupt":{"zone":"eu-west-1a"}}]',
    ];
    for (const text of [...wrong, ...wrongLimits]) expect(() => read(text)).toThrow(`--faults: ${file}`);
    expect(() => read('[{"servise":"s3"}]')).toThrow(/0: .*servise/);
    expect(() => read('[{"capacity":{"types":"g5"}}]')).toThrow(/0\.capacity: .*types/);
    expect(() => readFaults(join(directory, 'none'))).toThrow(/none can't be read/);
    rmSync(directory, { recursive: true });
  });
});
