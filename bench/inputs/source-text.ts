/** Modules in Python's manner, of a vocabulary that they share: they compress as source code does, about five to one. */
export function sourceText(random: (size: number) => Buffer): (size: number) => string {
  const pick = <T>(from: readonly T[]): T => from[random(2).readUInt16LE() % from.length];
  const names = Array.from({ length: 900 }, () => `${pick(WORDS)}_${pick(WORDS)}`);
  return (size) => {
    const own = Array.from({ length: 40 }, () => pick(names));
    const name = () => (random(1)[0] < 170 ? pick(own) : pick(names));
    let text = `"""${pick(WORDS)} ${pick(WORDS)} ${pick(WORDS)}."""\nimport ${pick(WORDS)}\nfrom .${pick(names)} import ${pick(names)}\n`;
    while (text.length < size) {
      const said = Array.from({ length: 6 }, () => pick(WORDS)).join(' ');
      text += `\n\ndef ${name()}(${name()}, ${name()}=None):\n    """${said}."""\n`;
      for (let line = 3 + (random(1)[0] % 12); line > 0; line--) text += statement(name, random(2).readUInt16LE());
    }
    return text;
  };
}

const WORDS =
  'batch model layer weight input output train test data loader step epoch loss rate decay norm mask token head query key value cache state config path file name size shape device tensor grad optimizer scheduler metric score label index sample window stride kernel channel buffer stream worker queue event log writer reader parser schema record field table column filter group merge split join encode decode init update reset apply build check load save'.split(
    ' ',
  );

function statement(name: () => string, kind: number): string {
  const forms = [
    () => `    ${name()} = ${name()}.${name()}(${name()}, ${name()})\n`,
    () => `    if ${name()} is None:\n        raise ValueError("${name()} must be set: %r" % ${name()})\n`,
    () => `    for ${name()} in range(${kind % 97}):\n        self.${name()}[${name()}] += ${name()} * ${kind / 100}\n`,
    () => `    # ${name()} follows ${name()}, which ${name()} does not know\n`,
    () => `    return self.${name()}(${name()}=${name()}, ${name()}=${kind % 11})\n`,
    () => `    with ${name()}.${name()}() as ${name()}:\n        ${name()}.append({"${name()}": ${name()}})\n`,
  ];
  return forms[kind % forms.length]();
}
