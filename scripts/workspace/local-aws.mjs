import { spawn } from 'node:child_process';

/** Starts the local AWS of the plugin that is installed in a workspace: its process, its URL, and the environment to use it. */
export async function startLocalAws(workspace) {
  const server = spawn(
    process.execPath,
    ['node_modules/nx-ec2/dist/cli/main.js', 'local-aws', '--port', '0', '--json'],
    { cwd: workspace, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const started = await new Promise((resolve, reject) => {
    let text = '';
    server.stdout.on('data', (data) => {
      text += data;
      if (text.includes('\n')) resolve(JSON.parse(text));
    });
    server.on('exit', () => reject(new Error('local AWS did not start')));
  });
  return { server, url: started.url, environment: started.environment };
}
