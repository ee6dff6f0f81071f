import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { ProcessTree } from './process-tree';

/** Uses so much, says so, and ends when it is told to: it is looked at in between, however busy the machine is. */
const BUSY = (seconds: number) =>
  `import time\nwhile time.process_time() < ${seconds}: pass\nprint(0, flush=True)\ninput()`;

(process.platform === 'linux' ? it : it.skip)('tells what each descendant of a process has used', async () => {
  const script = `python3 -c '${BUSY(0.4)}'; python3 -c '${BUSY(0.2)}'; :`;
  const child = spawn('sh', ['-c', `sh -c "${script}"; :`], { stdio: ['pipe', 'pipe', 'inherit'] });
  const tree = new ProcessTree(process.pid);
  for (const process of ['first', 'second']) {
    await once(child.stdout, 'data');
    // Timers that were due earlier come first, so it has been looked at then.
    await setTimeout(20);
    child.stdin.write(`${process}\n`);
  }
  await once(child, 'exit');
  const used = tree.end().filter(({ program }) => program.startsWith('python'));
  const busy = used.filter(({ processor }) => processor > 100).map(({ processor }) => processor);
  expect(busy).toHaveLength(2);
  expect(busy[0]).toBeGreaterThan(300);
  expect(busy[0]).toBeLessThan(700);
  expect(busy[1]).toBeGreaterThan(150);
  expect(busy[1]).toBeLessThan(busy[0]);
});
