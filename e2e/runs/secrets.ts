import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CreateSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import type { World } from '../worlds';
import { artifact, begin } from './training';

/** Prints its secrets in pieces, and whole; and says whether they are the right ones, and are in any process's arguments. */
const SCRIPT = `import glob, hashlib, os, sys, time
for name in ("TOKEN", "KEY"):
    value = os.environ[name]
    for piece in (value[:7], value[7:12], value[12:]):
        sys.stdout.write(piece)
        sys.stdout.flush()
        time.sleep(0.2)
    print("\\n%s is %s" % (name, value), flush=True)
    print("digest", name, hashlib.sha256(value.encode()).hexdigest(), flush=True)
    seen = 0
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            seen += value.encode() in open(path, "rb").read()
        except OSError:
            pass
    print("in arguments", name, seen, flush=True)
print("passed", os.environ["FLAVOUR"])
`;
const digest = (value: string) => createHash('sha256').update(value).digest('hex');

/** Only the training has the secrets. */
export function secrets(at: () => World): void {
  it.concurrent.each(['instance', 'client'])('are read by the %s and are nowhere else', async (secretsFrom) => {
    const world = at();
    const { nx, aws } = world;
    const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = aws.environment;
    const reach = { endpoint: aws.url, region: 'eu-west-1', credentials: { accessKeyId, secretAccessKey } };
    const [token, key] = [`tok-${secretsFrom}-5f1e8a7c`, `key-${secretsFrom}-b00c4d2e`];
    const put = { Name: `/runs/${secretsFrom}`, Type: 'SecureString', Value: token } as const;
    await new SSMClient(reach).send(new PutParameterCommand(put));
    await new SecretsManagerClient(reach).send(
      new CreateSecretCommand({ Name: `runs-${secretsFrom}`, SecretString: JSON.stringify({ inner: key }) }),
    );
    const name = `secret-${secretsFrom}`;
    begin(world, name, SCRIPT, {
      train: {
        secretsFrom,
        secrets: { TOKEN: `ssm:/runs/${secretsFrom}`, KEY: `secretsmanager:runs-${secretsFrom}#inner` },
        passEnv: ['FLAVOUR'],
      },
    });
    const unset = await nx.run([`${name}:remote-train`, '--json']).ends(1);
    expect(unset.result.error).toMatchObject({ code: 'ENV_MISSING', message: expect.stringContaining('FLAVOUR') });
    const trained = await nx.run([`${name}:remote-train`, '--verbose'], { FLAVOUR: 'sour' }).ends(0);
    const log = artifact(nx, name, 'training.log')!;
    for (const text of [trained.text, log]) {
      expect(text).toContain('TOKEN is ***');
      expect(text).toContain(`digest TOKEN ${digest(token)}`);
      expect(text).toContain(`digest KEY ${digest(key)}`);
      expect(text).toMatch(/in arguments TOKEN 0[^]*in arguments KEY 0/);
      expect(text).toContain('passed sour');
    }
    const beside = await nx.run([`${name}:remote-exec`, '--run=last', '--command=env'], { FLAVOUR: 'sour' }).ends(0);
    if (secretsFrom === 'instance') expect(beside.text).toContain('TOKEN=***');
    else expect(beside.text).not.toContain('TOKEN=');
    for (const value of [token, key]) {
      for (const text of [trained.text, log, beside.text]) expect(text).not.toContain(value);
      expect(aws.commands.filter(({ script, stdout }) => (script + stdout).includes(value))).toEqual([]);
      expect(holding(world.directory, value)).toEqual([]);
      expect(holding(join(nx.workspace, 'models'), value)).toEqual([]);
    }
  });
}

/** The files below a directory that hold a text; those that local AWS keeps its secrets in are not looked at. */
function holding(directory: string, text: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((each) => each.isFile() && !/^(parameters|secrets)\.json$/.test(each.name))
    .map((each) => join(each.parentPath, each.name))
    .filter((path) => contentOf(path).includes(text));
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    // It has ended in between.
    return '';
  }
}
