import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { tokenize, type Language } from './tokens';

/** Prints the names, numbers, operators and values of the strings that Python's own tokenizer finds in each text. */
const PYTHON = `
import ast, io, json, sys, tokenize
kinds = {tokenize.NAME: "name", tokenize.NUMBER: "number", tokenize.OP: "operator", tokenize.STRING: "string"}
found = []
for text in json.load(sys.stdin):
    tokens = []
    try:
        for kind, value, (line, _), _, _ in tokenize.generate_tokens(io.StringIO(text, newline=None).readline):
            if kind in kinds:
                if kind == tokenize.STRING:
                    value = ast.literal_eval(value.lstrip("fF"))
                    value = value.decode("latin-1") if isinstance(value, bytes) else value
                tokens.append([kinds[kind], value, line])
    except (tokenize.TokenError, SyntaxError):
        tokens = None
    found.append(tokens)
print(json.dumps(found))
`;

describe('the tokens of a source file', () => {
  it("are those that Python's own tokenizer finds", () => {
    const plain = fc
      .array(
        fc.constantFrom(...['a', 'é', ' ', '#', '\\n', '\\\\', "\\'", '\\"', '\\x41', '\\u00e9', '\\101', '{x}']),
        {
          maxLength: 6,
        },
      )
      .map((parts) => parts.join(''));
    const string = fc
      .tuple(fc.constantFrom('', 'r', 'b', 'u', 'Rb', 'f'), fc.constantFrom('"', "'", '"""', "'''"), plain)
      .map(([prefix, quote, body]) => {
        const text = /b/i.test(prefix) ? body.replace(/é/g, 'e') : body;
        return `${prefix}${quote}${prefix === 'f' ? text.replace(/\\(x41|u00e9|101|.)/g, '') : text}${quote}`;
      });
    const piece = fc.oneof(
      { weight: 3, arbitrary: string },
      fc.constantFrom(
        ...[
          'name',
          'größe',
          '_x1',
          '3',
          '1.5e-3',
          '0x1f',
          '+',
          '**',
          '//',
          '->',
          ':=',
          ',',
          '@',
          '!=',
          '# a "comment" \'\n',
        ],
        ...['(\n)', '[\n]', '\\\n', '\r\n', '\n', ' ', '\t'],
      ),
    );
    const source = fc.array(piece, { maxLength: 12 }).map((parts) => `${parts.join(' ').replace(/\n[ \t]+/g, '\n')}\n`);
    const texts = fc.sample(source, { numRuns: 1000, seed: 12 });
    const input = JSON.stringify(texts);
    const expected: unknown[] = JSON.parse(
      execFileSync('python3', ['-W', 'ignore', '-c', PYTHON], { input, encoding: 'utf8' }),
    );
    expect(expected.filter((tokens) => tokens !== null).length).toBeGreaterThan(500);
    texts.forEach((text, at) => {
      // Python refuses it.
      if (expected[at] === null) return;
      const tokens = tokenize(text, 'python').filter(({ kind }) => kind !== 'newline');
      expect([text, tokens.map(({ kind, text: value, line }) => [kind, value, line])]).toEqual([text, expected[at]]);
    });
  });

  it('are found in any text in a short time', () => {
    const piece = fc.constantFrom(
      ...[
        '"',
        "'",
        '"""',
        'f"',
        'f"""',
        '{',
        '}',
        '\\',
        '\n',
        '\r',
        '#',
        '/*',
        '`',
        'a',
        '\0',
        '\ud800',
        '𝒳',
        '(',
        '1',
      ],
    );
    const languages: Language[] = ['python', 'r', 'julia', 'javascript'];
    fc.assert(
      fc.property(fc.constantFrom(...languages), fc.array(piece, { maxLength: 60 }), (language, parts) => {
        for (const { line } of tokenize(parts.join(''), language)) expect(line).toBeGreaterThan(0);
      }),
      { numRuns: 500 },
    );
    for (const repeated of ['"', 'f"{', "'\\", '"""\n', '{', 'f"""{""', '#\n', '/*', '`', 'a"'])
      for (const language of languages) tokenize(repeated.repeat(20_000), language);
  });

  it.each<[Language, string, string[]]>([
    ['python', 'print "Python 2", `x`\nexec "a"', ['Python 2', 'a']],
    ['python', 'x = "not closed\ny = "closed"', ['closed']],
    ['python', 'f"{x["a"]}.pt" + "b"', ['{x["a"]}.pt', 'b']],
    ['r', 'saveRDS(m, "a.rds") # "b"', ['a.rds']],
    ['julia', '#= "a" =# y = x\'; f("b")', ['b']],
    ['javascript', '// "a"\n/* "b" */ g(`c${d}`, \'e\')', ['c${d}', 'e']],
  ])('are found in %s: %s', (language, text, strings) => {
    const found = tokenize(text, language).filter(({ kind }) => kind === 'string');
    expect(found.map((token) => token.text)).toEqual(strings);
  });
});
