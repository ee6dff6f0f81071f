import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../../system/until.fixture';
import { lockState, mark } from './state-lock';

describe('the lock of a state directory', () => {
  let directory: string;
  let other: ChildProcess;
  const lock = () => join(directory, 'lock');
  beforeAll(() => {
    other = spawn('sleep', ['600']);
  });
  afterAll(() => other.kill());
  beforeEach(() => {
    directory = fs.mkdtempSync(join(tmpdir(), 'nx-ec2-lock-'));
  });
  afterEach(() => {
    jest.restoreAllMocks();
    fs.rmSync(directory, { recursive: true });
  });

  it('is held by one process until it releases it', () => {
    fs.writeFileSync(lock(), mark(other.pid!));
    expect(() => lockState(directory)).toThrow(`already (PID ${other.pid})`);
    fs.rmSync(lock());
    const unlock = lockState(directory);
    expect(() => lockState(directory)).toThrow(`already (PID ${process.pid})`);
    unlock();
    expect(fs.readdirSync(directory)).toEqual([]);
  });

  it('is taken over from a process that was killed and that its parent does not wait for', async () => {
    const parent = spawn('sh', ['-c', 'sleep 600 & echo $!; exec sleep 600']);
    try {
      const [text] = (await once(parent.stdout, 'data')) as [Buffer];
      const pid = Number(text);
      const programOf = (id: number) => fs.readFileSync(`/proc/${id}/comm`, 'utf8').trim();
      await until(() => programOf(parent.pid!) === 'sleep');
      fs.writeFileSync(lock(), mark(pid));
      expect(() => lockState(directory)).toThrow(`already (PID ${pid})`);
      process.kill(pid, 'SIGKILL');
      await until(() => /^State:\tZ/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8')));
      lockState(directory)();
      expect(fs.readdirSync(directory)).toEqual([]);
    } finally {
      parent.kill();
    }
  });

  it.each([
    ['a process that has ended', () => '999999999'],
    ['an empty file', () => ''],
    ['what no process wrote', () => '0'],
    [
      'a process whose id another one has since',
      () => mark(other.pid!).replace(/\d(?= pid:)/, (digit) => String(+!+digit)),
    ],
    ['a process of before a restart of the machine', () => mark(other.pid!).replace(/ \S+ /, ' x ')],
    ['a process of this id before a restart of a container', () => `${process.pid} x 1`],
  ])('is taken over from %s', (_, holder) => {
    fs.writeFileSync(lock(), holder());
    lockState(directory)();
    expect(fs.readdirSync(directory)).toEqual([]);
  });

  describe('of a server in another container, where its process id says nothing,', () => {
    const holder = () =>
      mark(other.pid!)
        .replace(/^\d+/, '999999999')
        .replace(/pid:.*/, 'pid:[1]');

    it('is held as long as it is touched', () => {
      fs.writeFileSync(lock(), holder());
      expect(() => lockState(directory)).toThrow('already (PID 999999999 of another container)');
      expect(() => lockState(directory)).toThrow('If it was killed, try again in a minute.');
      expect(fs.readdirSync(directory)).toEqual(['lock']);
    });

    it('is taken over a minute after it was touched', () => {
      fs.writeFileSync(lock(), holder());
      const before = new Date(Date.now() - 61_000);
      fs.utimesSync(lock(), before, before);
      lockState(directory)();
      expect(fs.readdirSync(directory)).toEqual([]);
    });

    it('is touched again and again', () => {
      jest.useFakeTimers({ now: Date.now() + 3600_000 });
      try {
        const unlock = lockState(directory);
        jest.advanceTimersByTime(10_000);
        expect(Math.round(fs.statSync(lock()).mtimeMs)).toBe(Date.now());
        unlock();
        expect(jest.getTimerCount()).toBe(0);
      } finally {
        jest.useRealTimers();
      }
    });
  });

  it('is not taken over if another process took it over in between', () => {
    fs.writeFileSync(lock(), '999999999');
    const readFileSync = fs.readFileSync;
    const read = jest.spyOn(jest.requireActual<typeof fs>('node:fs'), 'readFileSync');
    read.mockImplementation(((file: string, options: 'utf8') => {
      const found = readFileSync(file, options);
      if (file === lock() && found === '999999999') fs.writeFileSync(lock(), mark(other.pid!));
      return found;
    }) as typeof fs.readFileSync);
    expect(() => lockState(directory)).toThrow(`already (PID ${other.pid})`);
    expect(readFileSync(lock(), 'utf8')).toBe(mark(other.pid!));
    expect(fs.readdirSync(directory)).toEqual(['lock']);
  });

  it('is taken over even if a process was killed while taking it over', () => {
    fs.writeFileSync(lock(), '999999999');
    const linkSync = fs.linkSync;
    const link = jest.spyOn(jest.requireActual<typeof fs>('node:fs'), 'linkSync');
    link.mockImplementation((from, to) => {
      if (String(to).startsWith(`${lock()}.`) && link.mock.calls.length < 3) {
        fs.writeFileSync(to, '999999998');
        throw Object.assign(new Error('EEXIST'), { code: 'EEXIST' });
      }
      linkSync(from, to);
    });
    lockState(directory)();
    expect(fs.readdirSync(directory)).toEqual([]);
  });
});
