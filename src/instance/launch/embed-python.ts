/** A string, or an operator or separator with the spaces around it. */
const SPACED = /("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')| ?(==|!=|<=|>=|\+=|-=|[=<>+*,:|-]) /g;

/** What the modules' package is called on an instance. */
const PACKAGE = 'nx_ec2_runtime';

/**
 * Modules of the runtime as one program that holds them in memory and calls `main` of one of them with its words.
 * It is ASCII, and a Python that is too old for the modules still reads it.
 * @param modules sources by their paths below the package, as the build strips them.
 */
export function pythonProgram(modules: Record<string, string>, main: string): string {
  const lines = Object.entries(modules).map(
    ([path, source]) =>
      `"${`${PACKAGE}/${path}`.slice(0, -3).replaceAll('/', '.')}": ${literal(source.replace(/\n{2,}/g, '\n'))},\n`,
  );
  return `import importlib, importlib.machinery, sys
sources = {
${lines.join('')}}
packages = set(".".join(name.split(".")[:depth]) for name in sources for depth in (1, 2))
class Modules:
    def find_spec(self, name, path, target=None):
        if name in sources or name in packages:
            return importlib.machinery.ModuleSpec(name, self, is_package=name in packages)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(compile(sources.get(module.__name__, ""), module.__name__, "exec"), module.__dict__)
sys.meta_path.insert(0, Modules())
importlib.import_module("${PACKAGE}.${main}").main(sys.argv[1:])
`;
}

/** A source as Python's raw string, indented by one space and with none around operators: user data is small. */
function literal(source: string): string {
  if (/'''|"""|[^\n -~]/.test(source) || !source.endsWith('\n'))
    throw new Error('a module of a program must be ASCII, end in a newline, and hold no string of several lines');
  // Joins the lines within brackets: a comma never ends a line outside of some.
  const joined = source
    .replace(SPACED, (_, text = '', operator = '') => `${text}${operator}`)
    .replace(/([([{])\n */g, '$1')
    .replace(/,?\n *([)\]}])/g, '$1')
    .replace(/,\n */g, ', ');
  return `r'''${joined.replace(/^( {4})+/gm, (indent) => ' '.repeat(indent.length / 4))}'''`;
}
