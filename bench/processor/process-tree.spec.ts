import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { ProcessTree } from './process-tree';

const BUSY = (seconds: number) => `import time\nwhile time.process_time() < ${seconds}: pass`;

(process.platform === 'linux' ? it : it.skip)('tells what each descendant of a process has used', async () => {
  const script = `python3 -c '${BUSY(0.4)}'; python3 -c '${BUSY(0.2)}'; :`;
  const child = spawn('sh', ['-c', `sh -c "${script}"; :`], { stdio: 'ignore' });
  const tree = new ProcessTree(process.pid);
  await once(child, 'exit');
  const used = tree.end().filter(({ program }) => program.startsWith('python'));
  const busy = used.filter(({ processor }) => processor > 100).map(({ processor }) => processor);
  expect(busy).toHaveLength(2);
  expect(busy[0]).toBeGreaterThan(300);
  expect(busy[0]).toBeLessThan(700);
  expect(busy[1]).toBeGreaterThan(150);
  expect(busy[1]).toBeLessThan(busy[0]);
});
