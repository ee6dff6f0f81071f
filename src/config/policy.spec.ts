import { createRequire } from 'node:module';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { enforcePolicy } from './policy';
import { WorkspaceVariables } from './workspace-variables';

// Nx's own parser of such files.
const nx = createRequire(require.resolve('nx/package.json'));
const { parse } = nx('dotenv') as { parse: (text: string) => Record<string, string> };
const { expand } = nx('dotenv-expand') as {
  expand: (options: object) => { parsed: Record<string, string> };
};

let root: string;
let outside: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'policy-workspace-'));
  outside = mkdtempSync(join(tmpdir(), 'policy-outside-'));
});
afterEach(() => {
  for (const each of [root, outside]) rmSync(each, { recursive: true, force: true });
});

const write = (path: string, value: string | object) => {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value));
  return path;
};
const configuration = { prefix: '', bucket: 'acme-training', projectRoot: 'model' };
const enforce = (environment: NodeJS.ProcessEnv, value: object = {}) =>
  enforcePolicy({ ...configuration, ...value }, root, { HOME: join(outside, 'home'), ...environment });

describe('several policies', () => {
  it('all limit the configuration: NX_EC2_POLICY does not replace the policy in the home directory', () => {
    write(join(outside, 'home/.config/nx-ec2/policy.json'), { buckets: ['acme-*'] });
    const named = write(join(outside, 'named.json'), { buckets: ['*'], regions: ['eu-*'] });
    expect(() => enforce({ NX_EC2_POLICY: named })).not.toThrow();
    expect(() => enforce({ NX_EC2_POLICY: named }, { bucket: 'other' })).toThrow(/home.*does not allow "bucket"/);
    expect(() => enforce({ NX_EC2_POLICY: named }, { region: 'us-east-1' })).toThrow(/named\.json.*"region"/);
    expect(() => enforce({}, { bucket: 'other' })).toThrow(/does not allow "bucket"/);
  });

  it('limit the prefix of a store, and allow anything if no bucket is used', () => {
    const named = write(join(outside, 'named.json'), { prefixes: ['team-a/'] });
    expect(() => enforce({ NX_EC2_POLICY: named }, { prefix: 'team-a/' })).not.toThrow();
    expect(() => enforce({ NX_EC2_POLICY: named }, { prefix: '' })).toThrow(/does not allow "prefix"/);
    expect(() => enforce({ NX_EC2_POLICY: named }, { bucket: undefined })).not.toThrow();
  });

  it('name a prefix with or without the slash at its end, as a configuration does', () => {
    const named = join(outside, 'named.json');
    for (const allowed of ['team-a', 'team-a/', 'team-*']) {
      write(named, { prefixes: [allowed] });
      for (const prefix of ['team-a', 'team-a/'])
        expect(() => enforce({ NX_EC2_POLICY: named }, { prefix })).not.toThrow();
      for (const prefix of ['', 'other/', 'other-team-a'])
        expect(() => enforce({ NX_EC2_POLICY: named }, { prefix })).toThrow(/does not allow "prefix"/);
    }
  });

  it('that limit users allow no root directory but the default, unless they name others', () => {
    const named = write(join(outside, 'named.json'), { users: ['ubuntu'] });
    expect(() => enforce({ NX_EC2_POLICY: named })).not.toThrow();
    expect(() => enforce({ NX_EC2_POLICY: named }, { remoteRoot: '/home/ubuntu/nx' })).toThrow(
      /named\.json does not allow "remoteRoot": "\/home\/ubuntu\/nx"/,
    );
    write(named, { users: ['ubuntu'], remoteRoots: ['/mnt/*'] });
    expect(() => enforce({ NX_EC2_POLICY: named }, { remoteRoot: '/mnt/nx' })).not.toThrow();
    expect(() => enforce({ NX_EC2_POLICY: named }, { remoteRoot: '/srv' })).toThrow(/"remoteRoot"/);
  });

  const launching = (spec: object) => ({ instances: [{ launchSpec: { types: ['t3.small'], ami: 'auto', ...spec } }] });

  it('that limit users allow no script that root runs, unless they say so', () => {
    const named = write(join(outside, 'named.json'), { users: ['ubuntu'] });
    const set = (spec: object) => () => enforce({ NX_EC2_POLICY: named }, launching(spec));
    const script = { userData: '#!/bin/sh\nTOKEN=hunter2 id' };
    expect(set({})).not.toThrow();
    expect(set(script)).toThrow(/named\.json does not allow "instance\.userData", which root runs/);
    expect(set(script)).not.toThrow(/hunter2/);
    write(named, { users: ['ubuntu'], userData: true });
    expect(set(script)).not.toThrow();
    write(named, {});
    expect(set(script)).not.toThrow();
    write(named, { userData: false });
    expect(set(script)).toThrow(/instance\.userData/);
    write(join(outside, 'home/.config/nx-ec2/policy.json'), { users: [] });
    write(named, { userData: true });
    expect(set(script)).toThrow(/home.*instance\.userData/);
  });

  it('that limit users allow published images alone, unless they name others', () => {
    const named = write(join(outside, 'named.json'), { users: ['ubuntu'] });
    const set = (ami: string) => () => enforce({ NX_EC2_POLICY: named }, launching({ ami }));
    for (const ami of ['auto', 'al2023', 'ubuntu-24.04']) expect(set(ami)).not.toThrow();
    expect(set('ami-0123456789abcdef0')).toThrow(/does not allow "instance\.ami"/);
    write(named, { users: ['ubuntu'], images: ['ami-*'] });
    expect(set('ami-0123456789abcdef0')).not.toThrow();
  });

  it.each([
    ['subnets', 'subnet', { subnets: ['subnet-01234567'] }],
    ['capacityReservations', 'capacityReservation', { capacityReservation: 'cr-0000000001234567' }],
    ['securityGroups', 'securityGroups', { securityGroups: ['sg-01234567'] }],
  ])('that limit the types of launches allow none of their own %s, unless they name them', (key, setting, spec) => {
    const named = write(join(outside, 'named.json'), { instanceTypes: ['t3.*'] });
    const set = () => enforce({ NX_EC2_POLICY: named }, launching(spec));
    expect(() => enforce({ NX_EC2_POLICY: named }, launching({}))).not.toThrow();
    expect(set).toThrow(new RegExp(`does not allow "instance\\.${setting}"`));
    write(named, { instanceTypes: ['t3.*'], [key]: ['*1234567'] });
    expect(set).not.toThrow();
    write(named, { [key]: [] });
    expect(set).toThrow(/It allows: none/);
    write(named, {});
    expect(set).not.toThrow();
  });

  it('allow .env files to be sent only if all of them allow it', () => {
    const include = { sync: { include: ['.env.local'] } };
    const named = write(join(outside, 'named.json'), { envFiles: true });
    expect(() => enforce({ NX_EC2_POLICY: named, CI: 'true' }, include)).not.toThrow();
    write(join(outside, 'home/.config/nx-ec2/policy.json'), {});
    expect(() => enforce({ NX_EC2_POLICY: named }, include)).toThrow(/not sent under the policy .*home/);
  });

  it.each(['{workspaceRoot}/.git/config', '../.git', '.GIT/config'])(
    'never allow the directory .git to be sent, since it may hold the token of a CI job: %s',
    (include) => {
      const named = write(join(outside, 'named.json'), {});
      const sync = { sync: { include: [include] } };
      expect(() => enforce({ NX_EC2_POLICY: named }, sync)).toThrow(/which is not sent under the policy/);
      expect(() => enforce({ CI: 'true' }, sync)).toThrow(/which is not sent in CI/);
      expect(() => enforce({}, sync)).not.toThrow();
    },
  );

  it('allow files whose names only begin with .git to be sent', () => {
    expect(() => enforce({ CI: 'true' }, { sync: { include: ['.github/x', '.gitattributes'] } })).not.toThrow();
  });

  it('stop the command if one of them cannot be read', () => {
    mkdirSync(join(outside, 'home/.config/nx-ec2/policy.json'), { recursive: true });
    expect(() => enforce({})).toThrow(/policy\.json can't be used: EISDIR/);
    expect(() => enforce({ NX_EC2_POLICY: join(outside, 'absent.json') })).toThrow(/absent\.json can't be used/);
  });

  it('stop the command if one of them has a key twice: only the last would count', () => {
    const named = write(
      join(outside, 'twice.json'),
      '{\n  "buckets": [],\n  "regions": ["eu-*"],\n  "buckets": ["*"]\n}',
    );
    expect(() => enforce({ NX_EC2_POLICY: named })).toThrow(
      /twice\.json can't be used: it has the key "buckets" twice, again in line 4\./,
    );
  });

  it('include a file beside the workspace whose name begins with two dots', () => {
    const beside = write(join(dirname(root), '..policy-beside.json'), { buckets: [] });
    try {
      expect(() => enforce({ NX_EC2_POLICY: beside })).toThrow(/does not allow "bucket"/);
    } finally {
      rmSync(beside);
    }
    const within = write(join(root, '..policy.json'), {});
    expect(() => enforce({ NX_EC2_POLICY: within })).toThrow(/inside the workspace/);
  });
});

describe('endpoints', () => {
  it('are checked against the policy, whoever set them', () => {
    const policy = write(join(outside, 'p.json'), { endpoints: ['https://s3.acme.example', 'http://127.0.0.1:*'] });
    const set = (values: object) => () => enforce({ NX_EC2_POLICY: policy, ...values });
    expect(set({ AWS_ENDPOINT_URL_S3: 'https://s3.acme.example' })).not.toThrow();
    expect(set({ AWS_ENDPOINT_URL: 'http://127.0.0.1:4566' })).not.toThrow();
    expect(set({ AWS_ENDPOINT_URL_SSM: 'https://evil.example' })).toThrow(/does not allow "AWS_ENDPOINT_URL_SSM"/);
    expect(set({ AWS_ENDPOINT_URL: 'http://me:pass@WORD@evil.example' })).toThrow(
      /does not allow "AWS_ENDPOINT_URL": "http:\/\/evil\.example"/,
    );
    expect(set({})).not.toThrow();
  });

  describe('of the AWS configuration files', () => {
    const EVIL = 'endpoint_url = https://me:word@evil.example';
    const at = (text: string, name = 'AWS_CONFIG_FILE') => {
      const policy = write(join(outside, 'p.json'), { endpoints: ['https://s3.acme.example'] });
      return { NX_EC2_POLICY: policy, [name]: write(join(root, 'aws.cfg'), text) };
    };
    const not = /The policy .*p\.json does not allow "endpoint_url in .*aws\.cfg": "https:\/\/evil\.example"/;

    it.each<[string, string, object, object]>([
      ['the default profile', `[default]\n${EVIL}`, {}, {}],
      ['services', `[default]\nservices = evil # ours\n[services evil]\nec2 =\n  ${EVIL}`, {}, {}],
      ['the profile of the configuration', `[profile a]\n${EVIL}`, {}, { profile: 'a' }],
      ['a profile with a quoted name', `[ profile "a" ]\r\n${EVIL}\r\n`, {}, { profile: 'a' }],
      ['the profile of the environment', `[profile a]\n${EVIL}`, { AWS_PROFILE: 'a' }, {}],
      ['a source profile', `[profile a]\nsource_profile=b\n[profile b]\n${EVIL}`, {}, { profile: 'a' }],
      ['the default profile, which a client without a profile takes', `[default]\n${EVIL}`, {}, { profile: 'a' }],
    ])('is checked as well: %s', (_, text, environment, value) => {
      expect(() => enforce({ ...at(text), ...environment }, value)).toThrow(not);
    });

    it('is checked in each of them', () => {
      expect(() => enforce(at(`[a]\n${EVIL}`, 'AWS_SHARED_CREDENTIALS_FILE'), { profile: 'a' })).toThrow(not);
      const policy = at('').NX_EC2_POLICY;
      write(join(outside, 'home/.aws/config'), `[default]\n${EVIL}`);
      expect(() => enforce({ NX_EC2_POLICY: policy })).toThrow(/endpoint_url in .*home\/\.aws\/config/);
    });

    it.each([
      ['allowed', '[default]\nendpoint_url = https://s3.acme.example'],
      ["another profile's", `[default]\nregion = eu-west-1\n[profile other]\n${EVIL}\n[services none]\ns3 =\n ${EVIL}`],
      ['a comment', `[default]\n# ${EVIL}\n; ${EVIL}`],
    ])('is let through: %s', (_, text) => {
      expect(() => enforce(at(text))).not.toThrow();
    });
  });
});

describe('a variable that a file of the workspace has set', () => {
  // As Nx does: the file's variables come into the environment.
  const withFile = (path: string, text: string, environment: object = {}) => {
    write(join(root, path), text);
    return () => enforce({ ...parse(text), ...environment });
  };

  it('does not name a policy', () => {
    const text = `NX_EC2_POLICY=${write(join(outside, 'lax.json'), {})}\n`;
    expect(withFile('.env', text)).toThrow(/^\.env sets NX_EC2_POLICY, which a file of the workspace may not set/);
  });

  it.each(['.env', '.env.local', '.local.env', 'model/.env', 'model/.env.remote-train', 'model/.remote-train.ci.env'])(
    'is not used as an endpoint: %s',
    (file) => {
      expect(withFile(file, 'AWS_ENDPOINT_URL_S3="https://evil.example"')).toThrow(
        new RegExp(`${file.replaceAll('.', '\\.')} sets AWS_ENDPOINT_URL_S3`),
      );
      expect(withFile(file, 'AWS_ENDPOINT_URL=http://127.evil.example/')).toThrow(/sets AWS_ENDPOINT_URL/);
      expect(withFile(file, 'AWS_ENDPOINT_URL=http://127.0.0.1:4566')).not.toThrow();
    },
  );

  it.each(['AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE'])(
    'does not name a file that may name an endpoint: %s',
    (name) => {
      expect(withFile('.env', `${name}=aws-config`)).toThrow(
        `.env sets ${name}, which a file of the workspace may not set`,
      );
      write(join(root, '.env'), '');
      expect(() => enforce({ [name]: '/home/me/aws-config' })).not.toThrow();
    },
  );

  it.each(['AWS_CA_BUNDLE', 'NODE_EXTRA_CA_CERTS', 'NODE_TLS_REJECT_UNAUTHORIZED', 'SSL_CERT_FILE'])(
    'is not used as the certificate authority of a proxy that a file has set as well: %s',
    (name) => {
      expect(withFile('.env', `${name}=x\nHTTPS_PROXY=http://evil.example`)).toThrow(`.env sets ${name}`);
      expect(withFile('.env', `${name}=x\nnpm_config_proxy=http://evil.example`)).toThrow(`.env sets ${name}`);
      expect(withFile('.env', `${name}=x`, { HTTPS_PROXY: '' })).not.toThrow();
      expect(withFile('.env', 'HTTPS_PROXY=http://proxy.example')).not.toThrow();
    },
  );

  it.each(['NX_EC2_CACHE_DIRECTORY', 'XDG_CACHE_HOME', 'HOME', 'USERPROFILE'])(
    'does not name the place of secrets: %s',
    (name) => {
      expect(withFile('.env', `${name}=cache`, { [name]: 'cache' })).toThrow(`sets ${name}`);
    },
  );

  // As Nx does: it unloads what .env sets as the shell does, and then loads the task's files.
  describe('and that unsets what the shell has set', () => {
    const emptied = (name: string, started: NodeJS.ProcessEnv | null, environment: NodeJS.ProcessEnv = {}) => {
      write(join(root, '.env'), `${name}=as-in-the-shell\n`);
      write(join(root, 'model/.remote-train.env'), `${name}=\n`);
      return () =>
        enforcePolicy(
          { ...configuration, sync: { include: ['.env'] } as never },
          root,
          { HOME: join(outside, 'home'), ...environment },
          () => started && { HOME: join(outside, 'home'), ...started },
        );
    };

    it.each([
      ['where the environment of nx is known', (name: string) => ({ [name]: 'as-in-the-shell' })],
      ['where it is not', () => null],
    ])('is found, %s', (_where, started) => {
      expect(emptied('NX_EC2_POLICY', started('NX_EC2_POLICY'))).toThrow(/sets NX_EC2_POLICY/);
      expect(emptied('CI', started('CI'))).toThrow(/\.env, which is not sent in CI/);
      expect(emptied('OTHER', started('OTHER'))).not.toThrow();
    });

    it('is not used as an endpoint', () => {
      expect(emptied('AWS_ENDPOINT_URL_S3', { AWS_ENDPOINT_URL_S3: 'https://s3.acme.example' })).toThrow(
        /sets AWS_ENDPOINT_URL_S3/,
      );
    });

    it.each(['AWS_PROFILE', 'AWS_REGION', 'AWS_ROLE_ARN'])('is not used under a policy as %s', (name) => {
      const set = emptied(name, { [name]: 'as-in-the-shell' });
      expect(set).not.toThrow();
      write(join(outside, 'home/.config/nx-ec2/policy.json'), { envFiles: true });
      expect(set).toThrow(`sets ${name}`);
      // As the shell has set it.
      expect(emptied(name, { [name]: 'x' }, { [name]: 'x' })).not.toThrow();
    });
  });

  it.each(['model/.env.q/r', 'model/.q/r.env', '.env.a/b/c.local'])(
    'is found in a file named after a target or configuration that contains slashes: %s',
    (file) => {
      expect(withFile(file, 'AWS_ENDPOINT_URL=https://evil.example')).toThrow(`${file} sets AWS_ENDPOINT_URL`);
    },
  );

  it('is not passed to a training by a file that may expand others, under a policy that limits what is passed', () => {
    const train = { passEnv: ['WANDB_X'] };
    const passed = (text: string, environment: NodeJS.ProcessEnv, started: NodeJS.ProcessEnv | null) => {
      write(join(root, 'model/.env'), text);
      const home = { HOME: join(outside, 'home') };
      return () =>
        enforcePolicy(
          { ...configuration, train },
          root,
          { ...home, ...environment },
          () => started && { ...home, ...started },
        );
    };
    const policy = join(outside, 'home/.config/nx-ec2/policy.json');
    const token = { CI_TOKEN: 'sekrit' };
    for (const text of ['WANDB_X=$CI_TOKEN', 'WANDB_X="\n${CI_TOKEN}"', "A=$CI_TOKEN\nWANDB_X='$A'"]) {
      for (const started of [token, null]) {
        const set = passed(text, { ...token, WANDB_X: 'sekrit' }, started);
        write(policy, { variables: ['WANDB_*'] });
        expect(set).toThrow(/"train\.passEnv" passes WANDB_X, which model\/\.env sets: with a "\$" in it/);
        write(policy, { buckets: ['*'] });
        expect(set).not.toThrow();
      }
    }
    write(policy, { variables: ['WANDB_*'] });
    expect(passed('WANDB_X=plain', { WANDB_X: 'plain' }, {})).not.toThrow();
    // The shell's own.
    expect(passed('WANDB_X=$CI_TOKEN', { ...token, WANDB_X: 'mine' }, { ...token, WANDB_X: 'mine' })).not.toThrow();
  });

  it("counts as the shell's own if nx was started with it, whatever the files say", () => {
    write(join(root, '.env'), 'AWS_PROFILE=mine\nAWS_REGION=other');
    const environment = { AWS_PROFILE: 'mine', AWS_REGION: 'other', AWS_CA_BUNDLE: 'x' };
    const set = new WorkspaceVariables(root, [''], environment, () => ({ AWS_PROFILE: 'mine', AWS_REGION: 'own' }));
    expect(set.fileOf('AWS_PROFILE')).toBeUndefined();
    expect(set.fileOf('AWS_REGION')).toBe('.env');
    // From a file that is not found by its name.
    expect(set.fileOf('AWS_CA_BUNDLE')).toMatch(/^A file that Nx loads/);
    expect(set.fileOf('AWS_ABSENT')).toBeUndefined();
  });

  it.each([
    'AWS_ACCESS_KEY_ID',
    'NODE_TLS_REJECT_UNAUTHORIZED',
    'SSL_CERT_FILE',
    'NX_EC2_NO_SESSIONS',
    'AWS_CONTAINER_CREDENTIALS_FULL_URI',
    'AWS_EC2_METADATA_SERVICE_ENDPOINT',
    'AWS_CA_BUNDLE',
    'NODE_EXTRA_CA_CERTS',
    'https_proxy',
    'npm_config_https_proxy',
    'npm_config_noproxy',
  ])('is not used under a policy as a credential, certificate authority or proxy: %s', (name) => {
    const set = withFile('.env', `${name}=x`);
    expect(set).not.toThrow();
    write(join(outside, 'home/.config/nx-ec2/policy.json'), {});
    expect(set).toThrow(new RegExp(`sets ${name}`));
  });

  it('is checked against the policy like the configuration if it is a region or a profile', () => {
    write(join(outside, 'home/.config/nx-ec2/policy.json'), { regions: ['eu-west-1'], profiles: [] });
    expect(withFile('.env', 'AWS_REGION=eu-west-1')).not.toThrow();
    expect(withFile('.env', 'AWS_REGION=us-east-1')).toThrow(/does not allow "AWS_REGION": "us-east-1"/);
    expect(withFile('.env', 'AWS_PROFILE=admin')).toThrow(/does not allow "AWS_PROFILE"/);
    write(join(root, '.env'), '');
    expect(() => enforce({ AWS_PROFILE: 'mine', AWS_REGION: 'us-east-1' })).not.toThrow();
  });

  it('is recognized in every way of writing an assignment', () => {
    const piece = fc.oneof(
      fc.constantFrom('"', "'", '`', ' ', '#', '=', '\n', '\\', '$', '${HOME}', 'export ', ': ', 'X=1', '\r\n', '\t'),
      fc.string({ maxLength: 6 }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), fc.array(piece, { maxLength: 4 }), (before, value) => {
        const text = `${before.join('')}\nAWS_CONFIG_FILE${value[0] ?? '='}=${value.join('')}\n"x"\n`;
        const environment: Record<string, string> = {};
        expand({ parsed: parse(text), processEnv: environment });
        writeFileSync(join(root, '.env'), text);
        const found = new WorkspaceVariables(root, [''], environment).fileOf('AWS_CONFIG_FILE');
        return !environment.AWS_CONFIG_FILE || found === '.env';
      }),
      { numRuns: 2000 },
    );
  });
});
