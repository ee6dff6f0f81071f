import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { terminalOf, terminalSize } from './terminal-size';

/** Starts a process on a terminal, prints its id, and gives the terminal the size that each line says. */
const PROGRAM = `
import fcntl, os, pty, struct, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    os.execvp("sh", ["sh", "-c", "echo up; exec sleep 600"])
os.read(terminal, 100)
for line in sys.stdin:
    columns, rows = map(int, line.split())
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    print(pid, flush=True)
os.kill(pid, 9)
`;

describe('the terminal of another process', () => {
  it('has its current size, and none if there is no such process', async () => {
    const program = spawn('python3', ['-c', PROGRAM], { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface({ input: program.stdout })[Symbol.asyncIterator]();
    const sized = async (size: string) => {
      program.stdin.write(`${size}\n`);
      return Number((await lines.next()).value);
    };
    const pid = await sized('133 41');
    const device = terminalOf(pid)!;
    expect(terminalSize(device)).toEqual({ columns: 133, rows: 41 });
    await sized('101 31');
    expect(terminalSize(device)).toEqual({ columns: 101, rows: 31 });
    await sized('0 0');
    expect(terminalSize(device)).toBeNull();
    const ended = new Promise((resolve) => program.once('close', resolve));
    program.stdin.end();
    await ended;
    expect(terminalOf(pid)).toBeNull();
    expect(terminalSize('/dev/null')).toBeNull();
  });
});
