/**
 * Modules of the remote side as one program that holds them in memory and calls `main` of one of them with its words.
 * It is ASCII, and a Python that is too old for the modules still reads it.
 * @param modules sources by file names; comments and docstrings of theirs are left out.
 */
export function pythonProgram(modules: Record<string, string>, main: string): string {
  const lines = Object.entries(modules).map(([name, source]) => `"${name.slice(0, -3)}": ${literal(bare(source))},\n`);
  return `import importlib, importlib.machinery, sys
sources = {
${lines.join('')}}
package = "nx_ec2_remote"
class Modules:
    def find_spec(self, name, path, target=None):
        if name == package or name[:len(package) + 1] == package + "." and name[len(package) + 1:] in sources:
            return importlib.machinery.ModuleSpec(name, self, is_package=name == package)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(compile(sources.get(module.__name__[len(package) + 1:], ""), module.__name__, "exec"), module.__dict__)
sys.meta_path.insert(0, Modules())
importlib.import_module(package + ".${main}").main(sys.argv[1:])
`;
}

/** A source without what only people read: lines of comment, docstrings, blank lines. */
export function bare(source: string): string {
  return source
    .replace(
      /^( *)"""[\s\S]*?"""\n(\n*)(\1(?=\S))?/gm,
      // A class, or function, that has nothing else needs something.
      (_, indent: string, blank: string, same?: string) =>
        indent && same === undefined ? `${indent}pass\n${blank}` : blank + (same ?? ''),
    )
    .replace(/^[ ]*#.*\n/gm, '')
    .replace(/\n{2,}/g, '\n');
}

/** A source as Python's raw string. */
function literal(source: string): string {
  if (/'''|[^\n -~]/.test(source) || !source.endsWith('\n'))
    throw new Error("a module of a program must be ASCII, end in a newline, and hold no '''");
  return `r'''${source}'''`;
}
