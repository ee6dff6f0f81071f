// A python3 that is a script of a version manager (pyenv, asdf) starts some forty processes before Python itself, and the tests
// start Python thousands of times. This puts the directory of the interpreter that the script chooses before the script's.
const { execFileSync } = require('node:child_process');
const { existsSync, realpathSync } = require('node:fs');
const { delimiter, dirname, join } = require('node:path');

/** Changes PATH of this process, and so of those that it starts, if its `python3` is not the interpreter itself. */
function findPythonDirectly() {
  const directories = (process.env.PATH ?? '').split(delimiter);
  const found = directories.map((directory) => join(directory, 'python3')).find((file) => existsSync(file));
  if (!found) return; // Whatever needs Python says so.
  const program = 'import sys; print(sys.executable)';
  const executable = execFileSync(found, ['-I', '-c', program], { encoding: 'utf8' }).trim();
  if (realpathSync(executable) === realpathSync(found)) return;
  process.env.PATH = [dirname(executable), ...directories].join(delimiter);
}

module.exports = { findPythonDirectly };
