// npm test: unit and integration, the remote side, the end-to-end suite with its witnesses, part of it on Node 22. NX_EC2_E2E_NX chooses the versions of Nx.
import { execFileSync } from 'node:child_process';

const nx = process.env.NX_EC2_E2E_NX ?? '22.7.8,23.2.1,24.0.6';
const run = (...args) =>
  execFileSync('npm', ['run', '--silent', ...args], { stdio: 'inherit', env: { ...process.env, NX_EC2_E2E_NX: nx } });
try {
  run('build');
  run('test:unit');
  run('test:remote');
  run('test:witnesses');
  run('test:e2e');
  run('test:node22');
} catch (error) {
  process.exitCode = error.status || 1;
}
