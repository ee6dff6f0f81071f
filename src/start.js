'use strict';
// Loads one entry point of the bundle, dist/program.js. V8's compiled code is kept beside it, in dist/cache, since compiling takes longer
// than the rest of a start. The program is ASCII, which takes no time to decode. Where that directory cannot be written, or what it holds does not fit this Node.js, the program is compiled.
const { createHash } = require('node:crypto');
const { mkdirSync, readFileSync, renameSync, writeFileSync } = require('node:fs');
const { createRequire, wrap } = require('node:module');
const { join } = require('node:path');
const { Script } = require('node:vm');

/** The hash of the program, written by the build: V8 compares no more of a source than its length. */
const BUILD = '@BUILD@';
const PROGRAM = join(__dirname, 'program.js');
const CACHE = join(__dirname, 'cache');
const HASH_BYTES = 32;
let entryPoints;

module.exports = function start(entryPoint) {
  entryPoints ??= load(entryPoint);
  return entryPoints[entryPoint]();
};

function load(entryPoint) {
  const name = `${BUILD}-${process.version}-${process.arch}-${entryPoint.replaceAll('/', '-')}`;
  const cachedData = readCode(name);
  const script = new Script(wrap(readFileSync(PROGRAM, 'latin1')), { filename: PROGRAM, cachedData });
  // At the exit, what the entry point needs has been compiled.
  if (!cachedData || script.cachedDataRejected) process.once('exit', () => writeCode(name, script));
  const program = { exports: {} };
  script.runInThisContext()(program.exports, createRequire(PROGRAM), program, PROGRAM, __dirname);
  return program.exports;
}

/** V8 does not check that code is whole: a damaged file could end the process. */
function readCode(name) {
  try {
    const file = readFileSync(join(CACHE, name));
    const code = file.subarray(HASH_BYTES);
    return hashOf(code).equals(file.subarray(0, HASH_BYTES)) ? code : undefined;
  } catch {
    return undefined;
  }
}

function writeCode(name, script) {
  try {
    const code = script.createCachedData();
    mkdirSync(CACHE, { recursive: true });
    const part = join(CACHE, `${name}.${process.pid}`);
    writeFileSync(part, Buffer.concat([hashOf(code), code]));
    renameSync(part, join(CACHE, name));
  } catch {
    // The next start compiles the program again.
  }
}

function hashOf(code) {
  return createHash('sha256').update(code).digest();
}
