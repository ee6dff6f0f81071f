import { hash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { allOutputs } from '../config/settings/outputs';
import { Snapshot } from '../snapshot/snapshot';
import { StoreFixture } from '../store/store.fixture';
import { encodeFull } from '../sync/manifest/manifest';
import { foldAll } from '../workspace/name-folding';
import { listArtifacts } from '../run/artifacts/artifact-list';
import { screenArtifacts } from '../run/artifacts/write/screen-artifacts';
import { recordOf, RUN } from '../run/record/saved-run.fixture';
import { SentFiles } from './sent-files';

const sha256 = (text: string) => hash('sha256', text);

/** An instance lists a file that was sent as one that was not, to have an edit of it here overwritten. */
describe('an edited local file, if the list of artifacts is forged,', () => {
  let at: StoreFixture;
  let workspace: string;
  beforeAll(async () => (at = await StoreFixture.start()));
  afterAll(() => at.close());
  beforeEach(() => {
    at.empty();
    workspace = mkdtempSync(join(tmpdir(), 'nx-ec2-sent-'));
    mkdirSync(join(workspace, 'model/artifacts'), { recursive: true });
    for (const name of ['edited', 'sent']) writeFileSync(join(workspace, 'model/artifacts', name), name);
  });
  afterEach(() => rmSync(workspace, { recursive: true, force: true }));

  const snapshot = Snapshot.of(
    ['edited', 'sent'].map((name) => ({
      kind: 'file',
      executable: false,
      path: `model/artifacts/${name}`,
      size: 4,
      sha256: sha256('sent'),
    })),
  );

  const screen = async (entry: object, fold?: (path: string) => string) => {
    const part = sha256('made');
    const file = { path: '', size: 4, sha256: part, executable: false, parts: [part], was: null };
    const { path } = { path: 'artifacts/edited', ...entry };
    const list = Buffer.from(
      JSON.stringify({
        v: 1,
        files: [
          { ...file, path: 'artifacts/sent' },
          { ...file, ...entry, path },
        ],
        skipped: [],
      }),
    );
    await at.store.put(`${at.keys().run(RUN)}artifacts.json`, list);
    const artifacts = {
      state: 'saved' as const,
      sha256: hash('sha256', list),
      files: 2,
      bytes: 8,
      unsaved: 0,
      extra: null,
      error: null,
    };
    const record = recordOf({ artifacts, snapshot: snapshot.id });
    const outputs = allOutputs();
    const listed = await listArtifacts({ store: at.store, keys: at.keys() }, record, { projectRoot: 'model', outputs });
    const sent = new SentFiles(at.store, at.keys(), record.snapshot);
    return screenArtifacts(listed!.files, { output: join(workspace, 'model'), sent }, fold);
  };
  const store = () =>
    at.store.put(at.keys().manifest(snapshot.id), encodeFull(snapshot, { packs: [], recipes: {}, inline: {} }));

  it.each([
    ['it was not sent', { was: null }],
    ['it was sent as it is here now', { was: { size: 6, sha256: sha256('edited') } }],
  ])('is kept if the list says that %s', async (_what, entry) => {
    await store();
    const { heldBack, accepted } = await screen(entry);
    expect(heldBack).toEqual([
      { path: 'artifacts/edited', why: 'the file at this path was changed since it was sent' },
    ]);
    expect(accepted.map(({ path }) => path)).toEqual(['artifacts/sent']);
  });

  it('is kept if the list has another spelling of its name that this file system does not distinguish', async () => {
    await store();
    // As such a file system finds it under both names.
    writeFileSync(join(workspace, 'model/artifacts/EDITED'), 'edited');
    expect((await screen({ path: 'artifacts/EDITED' }, foldAll)).heldBack).toEqual([
      { path: 'artifacts/EDITED', why: 'the file at this path was changed since it was sent' },
    ]);
  });

  it.each([
    ['is not there', null],
    ['was exchanged', Buffer.from('x')],
  ])('is kept, like every file that differs, if the manifest of the snapshot %s', async (_what, bytes) => {
    if (bytes) await at.store.put(at.keys().manifest(snapshot.id), bytes);
    const { heldBack, accepted } = await screen({});
    expect(heldBack.map(({ path }) => path)).toEqual(['artifacts/sent', 'artifacts/edited']);
    expect(accepted).toEqual([]);
  });
});
