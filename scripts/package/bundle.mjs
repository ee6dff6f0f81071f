// Bundles the program into one file, dist/program.js: a start reads one file instead of hundreds. What Nx, the shell and threads load
// are files of one line beside it (dist/executors/remote-sync/executor.js), which load their part of the bundle by dist/start.js.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const source = join(root, 'src');
const readJson = (name) => JSON.parse(readFileSync(join(root, name), 'utf8'));
const { dependencies, main, bin } = readJson('package.json');
const declared = [
  main,
  ...Object.values(bin),
  ...Object.values(readJson('executors.json').executors).map(({ implementation }) => implementation),
  ...Object.values(readJson('generators.json').generators).map(({ factory }) => factory),
];
/** What is loaded from outside, relative to dist/: by Nx, as a command, as a thread. */
export const ENTRY_POINTS = [...declared.map((path) => path.replace('./dist/', '').replace(/\.js$/, '')), ...threads()];

/** The modules that start themselves again as a thread. */
function threads() {
  return readdirSync(source, { recursive: true })
    .filter((path) => path.endsWith('.ts') && /new Worker\(__filename\b/.test(readFileSync(join(source, path), 'utf8')))
    .map((path) => path.replace(/\.ts$/, ''));
}

/** Modules look for files beside their own place in dist/, not beside the bundle. */
const ownPlace = {
  name: 'own-place',
  setup(builder) {
    builder.onLoad({ filter: /\.ts$/ }, ({ path }) => {
      if (!path.startsWith(source)) return null;
      const text = readFileSync(path, 'utf8');
      if (!/\b__(dirname|filename)\b/.test(text)) return null;
      const place = relative(source, path).replace(/\.ts$/, '.js');
      const at = (to) => `require('node:path').join(PACKAGE_DIST, ${JSON.stringify(to)})`;
      const names = `const __filename = ${at(place)}, __dirname = ${at(dirname(place))};`;
      // On the first line, so that the others keep their numbers.
      return { contents: text.startsWith('#!') ? text.replace('\n', `\n${names}`) : names + text, loader: 'ts' };
    });
  },
};

/** zod's messages in other languages than English, which are never printed, are a sixth of the bundle and loaded with it. */
const inEnglish = {
  name: 'in-english',
  setup(builder) {
    builder.onLoad({ filter: /zod\/v4\/locales\/index\.js$/ }, ({ path }) => ({
      contents: "export { default as en } from './en.js';",
      resolveDir: dirname(path),
    }));
  },
};

/**
 * Writes the bundle, its entry points, and the licenses of the packages that are in it.
 * @param others files that have gone into other files of the package
 */
export async function bundle(dist, others) {
  const modules = ENTRY_POINTS.map((path) => `${JSON.stringify(path)}: () => require('./${path}')`);
  const program = join(dist, 'program.js');
  const { metafile } = await build({
    stdin: { contents: `module.exports = {\n${modules.join(',\n')}\n};`, resolveDir: source, sourcefile: 'program.js' },
    outfile: program,
    absWorkingDir: root,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20.19',
    tsconfig: join(root, 'tsconfig.json'),
    alias: { '@nx/devkit': 'nx-ec2-devkit' },
    external: [...Object.keys(dependencies).flatMap((name) => [name, `${name}/*`]), 'nx', 'nx/*'],
    // V8's compiled code is loaded as a script, which has no import().
    supported: { 'dynamic-import': false },
    banner: { js: 'const PACKAGE_DIST = __dirname;' },
    logLevel: 'warning',
    metafile: true,
    plugins: [ownPlace, inEnglish],
  });
  writeFileSync(program, inAscii(readFileSync(program, 'utf8')), 'latin1');
  for (const path of ENTRY_POINTS) writeEntryPoint(dist, path);
  const buildId = createHash('sha256').update(readFileSync(program)).digest('hex').slice(0, 16);
  writeFileSync(join(dist, 'start.js'), readFileSync(join(source, 'start.js'), 'utf8').replace('@BUILD@', buildId));
  writeFileSync(join(dist, 'THIRD-PARTY-LICENSES.txt'), licenses([...Object.keys(metafile.inputs), ...others]));
}

/**
 * A program of ASCII alone, which a start reads three times as fast. esbuild escapes what is code; comments lose their
 * other characters. @throws Error where a line with others is no comment.
 */
function inAscii(text) {
  const ascii = (line) => {
    if (!/[^\0-\x7f]/.test(line)) return line;
    if (!/^\s*(\/\/|\/?\*)/.test(line)) throw new Error(`not ASCII, and no comment: ${line}`);
    return line.replace(/[^\0-\x7f]/g, '?');
  };
  return text.split('\n').map(ascii).join('\n');
}

/** The licenses of the packages whose files are given. @throws Error where a package has none. */
function licenses(files) {
  const packages = new Set(files.flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []));
  const texts = [...packages].sort().map((directory) => {
    const { name, version, license } = JSON.parse(readFileSync(join(root, directory, 'package.json'), 'utf8'));
    const file = readdirSync(join(root, directory)).find((each) => /^(licen[cs]e|copying)/i.test(each));
    if (!file) throw new Error(`${name} has no license file`);
    return `${name} ${version} (${license})\n\n${readFileSync(join(root, directory, file), 'utf8').trim()}\n`;
  });
  return `dist/program.js and dist/ui/page.js contain these packages.\n\n${texts.join(`\n${'-'.repeat(80)}\n\n`)}`;
}

function writeEntryPoint(dist, path) {
  const file = join(dist, `${path}.js`);
  mkdirSync(dirname(file), { recursive: true });
  const start = relative(dirname(file), join(dist, 'start.js'));
  const shebang = path === 'cli/main' ? '#!/usr/bin/env node\n' : '';
  writeFileSync(
    file,
    `${shebang}'use strict';\nmodule.exports = require(${JSON.stringify(start.startsWith('.') ? start : `./${start}`)})(${JSON.stringify(path)});\n`,
  );
}
