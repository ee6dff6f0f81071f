import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import type { World } from '../worlds';
import { artifact, begin } from './training';

/** Files that a training leaves, and that it is given. */
export function files(at: () => World): void {
  it.concurrent(
    'a large artifact is downloaded as a pointer, also from the cache, and in full by remote-pull',
    async () => {
      const world = at();
      const { nx } = world;
      const script = `import os
output = os.environ["NX_EC2_OUTPUT_DIR"]
open(os.path.join(output, "large one.bin"), "wb").write(os.urandom(300000))
open(os.path.join(output, "small.txt"), "w").write("small")
open(os.path.join(output, "raw.txt"), "w").write("raw")
`;
      begin(world, 'large', script, {
        train: { downloadLimit: '100KB', outputs: [{ path: 'artifacts/raw.*', download: false }] },
      });
      const { id, text } = await nx.run(['large:remote-train']).ends(0);
      expect(text).toMatch(/Artifacts: 1 file, .* 2 files in the store, with pointers here/);
      const output = join(nx.workspace, 'models/large/artifacts');
      rmSync(output, { recursive: true });
      expect((await nx.run(['large:remote-train']).ends(0)).text).toMatch(
        /local cache|Nx read the output from the cache/,
      );
      expect(artifact(nx, 'large', 'small.txt')).toBe('small');
      expect(artifact(nx, 'large', 'large one.bin')).toBeNull();
      const pointer = JSON.parse(artifact(nx, 'large', 'large one.bin.nx-ec2.json')!);
      expect(pointer).toMatchObject({ run: id, path: 'artifacts/large one.bin', size: 300000 });
      // As a person copies it out of the file.
      const [, ...words] = JSON.parse(
        execFileSync(
          'python3',
          ['-c', 'import json, shlex, sys; print(json.dumps(shlex.split(sys.argv[1])))', pointer.how],
          { encoding: 'utf8' },
        ),
      );
      await nx.command(words).ends(0);
      expect(
        createHash('sha256')
          .update(readFileSync(join(output, 'large one.bin')))
          .digest('hex'),
      ).toBe(pointer.sha256);
      expect(artifact(nx, 'large', 'large one.bin.nx-ec2.json')).toBeNull();
      expect(artifact(nx, 'large', 'raw.txt.nx-ec2.json')).not.toBeNull();
      await nx.run(['large:remote-pull']).ends(0);
      expect(artifact(nx, 'large', 'raw.txt')).toBe('raw');
      expect(artifact(nx, 'large', 'raw.txt.nx-ec2.json')).toBeNull();
    },
  );

  it.concurrent(
    'results outside the outputs are named and saved, and become outputs without another training',
    async () => {
      const world = at();
      const { nx } = world;
      const script = `import os
print("trained")
os.makedirs("out")
open("out/model.pt", "w").write("weights")
`;
      begin(world, 'scattered', script);
      const first = await nx.run(['scattered:remote-train']).ends(1);
      expect(first.text).toMatch(/wrote 1 file \(7 B\) outside its outputs.*out\/model\.pt.*"outputs": \["out\/"\]/s);
      expect(first.text).toContain('The target is reported as failed');
      const project = join(nx.workspace, 'models/scattered');
      const file = join(project, 'ec2.config.json');
      const written = JSON.parse(readFileSync(file, 'utf8'));
      writeFileSync(file, JSON.stringify({ ...written, train: { ...written.train, outputs: ['out/'] } }));
      // The advice of the message, and what a person does beside it.
      writeFileSync(join(project, '.gitignore'), 'artifacts\nout/\n');
      const second = await nx.run(['scattered:remote-train']).ends(0);
      expect(second.text).toContain('This training has ended already');
      expect(readFileSync(join(project, 'out/model.pt'), 'utf8')).toBe('weights');
      rmSync(join(project, 'out'), { recursive: true });
      expect((await nx.run(['scattered:remote-train']).ends(0)).text).toMatch(
        /local cache|Nx read the output from the cache/,
      );
      expect(readFileSync(join(project, 'out/model.pt'), 'utf8')).toBe('weights');
    },
  );

  it.concurrent('a dataset in S3 is downloaded once, and again when it changes', async () => {
    const world = at();
    const { nx, aws } = world;
    const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = aws.environment;
    const s3 = new S3Client({
      endpoint: aws.url,
      region: 'eu-west-1',
      forcePathStyle: true,
      credentials: { accessKeyId, secretAccessKey },
    });
    const put = (number: number, Body: string) =>
      s3.send(new PutObjectCommand({ Bucket: 'nx-ec2-local', Key: `corpus/part/${number}.txt`, Body }));
    for (let number = 0; number < 30; number++) await put(number, `number ${number}\n`);
    const gets = () =>
      aws.requests.filter(({ action, path }) => action === 'GET' && path.startsWith('/nx-ec2-local/corpus/')).length;
    const script = `import glob
names = glob.glob("data/corpus/part/*.txt")
print("found", len(names), "sum", sum(int(open(name).read().split()[1]) for name in names))
`;
    const datasets = [{ source: 's3://nx-ec2-local/corpus', path: 'data/corpus', cacheKey: true }];
    begin(world, 'corpus', script, { train: { datasets } });
    expect((await nx.run(['corpus:remote-train']).ends(0)).text).toContain('found 30 sum 435');
    expect(gets()).toBe(30);
    // Each is a run of its own, and none comes from Nx's cache.
    for (const _ of [1, 2]) {
      const again = await nx.run(['corpus:remote-train', '--rerun']).ends(0);
      expect(again.text).toContain('found 30 sum 435');
      expect(again.text).not.toMatch(/existing outputs match the cache|local cache|\[cache/i);
    }
    expect(gets()).toBe(30);
    await put(7, 'number 1007\n');
    const third = await nx.run(['corpus:remote-train']).ends(0);
    expect(third.text).toContain('found 30 sum 1435');
    const versions = (await nx.run(['corpus:remote-status', '--json']).ends(0)).result.runs.map(
      (run: { datasets: { version: string }[] }) => run.datasets[0].version,
    );
    expect(versions).toHaveLength(4);
    expect([versions[0] === versions[1], versions[1] === versions[2], versions[2] === versions[3]]).toEqual([
      false,
      true,
      true,
    ]);
  });

  it.concurrent("runs that share an environment import each its own library's code", async () => {
    const world = at();
    const { nx } = world;
    const library = join(nx.workspace, 'libs/answer');
    mkdirSync(join(library, 'answer'), { recursive: true });
    writeFileSync(join(library, 'project.json'), JSON.stringify({ name: 'answer' }));
    writeFileSync(
      join(library, 'pyproject.toml'),
      '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    );
    writeFileSync(join(library, 'backend.py'), BACKEND);
    const says = (answer: number) => writeFileSync(join(library, 'answer/__init__.py'), `ANSWER = ${answer}\n`);
    says(41);
    begin(world, 'asker', 'import sys, answer\nprint("answer", answer.ANSWER, "in", answer.__file__)\n', {
      // uv would be fetched from an index.
      train: { environment: 'pip', installer: 'pip' },
    });
    writeFileSync(join(nx.workspace, 'models/asker/requirements.txt'), '-e ../../libs/answer\n');
    writeFileSync(
      join(nx.workspace, 'models/asker/project.json'),
      JSON.stringify({ name: 'asker', implicitDependencies: ['answer'] }),
    );
    const first = await nx.run(['asker:remote-train']).ends(0);
    says(42);
    const second = await nx.run(['asker:remote-train']).ends(0);
    const key = ({ text }: { text: string }) => /environment ([0-9a-f]{32}), ready/.exec(text)?.[1];
    expect([first, second].map(({ text }) => /answer (\d+) in/.exec(text)?.[1])).toEqual(['41', '42']);
    expect(key(first)).toBeDefined();
    expect(key(second)).toBe(key(first));
    for (const each of [first, second]) expect(each.text).toMatch(new RegExp(`in \\S*/runs/${each.id}/work\\b`));
  });
}

/** A build backend that needs nothing: a wheel whose path file leads to the sources. */
const BACKEND = `import os, zipfile
def get_requires_for_build_editable(settings=None):
    return []
def build_editable(directory, settings=None, metadata=None):
    info = "answer-1.0.dist-info/"
    with zipfile.ZipFile(os.path.join(directory, "answer-1.0-py3-none-any.whl"), "w") as file:
        file.writestr("answer.pth", os.getcwd())
        file.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: answer\\nVersion: 1.0\\n")
        file.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nGenerator: us\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        file.writestr(info + "RECORD", "")
    return "answer-1.0-py3-none-any.whl"
`;
