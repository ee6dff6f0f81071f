import { useState } from 'preact/hooks';
import type { CheckpointData, FileRow, FilesData } from '../api';
import { apiUrl, useAnswer, type Query } from './api-client';
import { formatSize, formatTime } from './format';
import { Loading, TroubleNote } from './parts';
import { Preview, previewOf } from './preview';

const REFRESH_MS = 15_000;

export function Files({ query, isActive }: { query: Query; isActive: boolean }) {
  const { data, trouble } = useAnswer<FilesData>('files', query, isActive ? REFRESH_MS : 0);
  if (!data) return trouble ? <TroubleNote trouble={trouble} what="The files can't be listed." /> : <Loading />;
  const { files, extra, checkpoints, unsaved, more } = data;
  return (
    <>
      <TroubleNote trouble={data.trouble ?? trouble} what="The artifacts can't be listed." />
      <h3>Artifacts</h3>
      {files.length ? (
        <FileTable title="Artifacts" files={files} query={query} />
      ) : (
        <p class="note">{isActive ? 'None yet: they are saved when the run ends.' : 'The run has saved none.'}</p>
      )}
      {extra.length > 0 && (
        <>
          <h3>Files outside the outputs</h3>
          <FileTable title="Files outside the outputs" files={extra} query={query} />
        </>
      )}
      {more > 0 && <p class="note">{more} more files are not listed; remote-pull downloads all.</p>}
      {unsaved.length > 0 && (
        <>
          <h3>Not saved</h3>
          <ul>
            {unsaved.map((line, at) => (
              <li key={at}>{line}</li>
            ))}
          </ul>
        </>
      )}
      <h3>Checkpoints</h3>
      {checkpoints.length === 0 && <p class="note">The run has none.</p>}
      {checkpoints.toReversed().map((each) => (
        <Checkpoint key={each.n} checkpoint={each} query={query} />
      ))}
    </>
  );
}

function Checkpoint({ checkpoint, query }: { checkpoint: FilesData['checkpoints'][number]; query: Query }) {
  const [isOpen, setOpen] = useState(false);
  const { n, unit, size, files, at, attempt } = checkpoint;
  const count = files === 1 ? '1 file' : `${files} files`;
  return (
    <details onToggle={(event) => setOpen((event.currentTarget as HTMLDetailsElement).open)}>
      <summary>
        {unit} ({formatSize(size)}, {count}, {formatTime(at)}, attempt {attempt})
      </summary>
      {isOpen && <CheckpointFiles title={`Checkpoint ${unit}`} query={{ ...query, n }} />}
    </details>
  );
}

function CheckpointFiles({ title, query }: { title: string; query: Query }) {
  const { data, trouble } = useAnswer<CheckpointData>('checkpoint', query, 0);
  if (!data) return trouble ? <TroubleNote trouble={trouble} what="The checkpoint can't be read." /> : <Loading />;
  return (
    <>
      <FileTable title={title} files={data.files} query={query} />
      {data.more > 0 && <p class="note">{data.more} more files are not listed.</p>}
    </>
  );
}

function FileTable({ title, files, query }: { title: string; files: FileRow[]; query: Query }) {
  return (
    <table class="files">
      <caption class="unseen">{title}</caption>
      <thead>
        <tr>
          <th scope="col">File</th>
          <th scope="col">Size</th>
          <th scope="col">
            <span class="unseen">Actions</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {files.map((file) => (
          <File key={file.path} file={file} url={apiUrl('file', { ...query, path: file.path })} />
        ))}
      </tbody>
    </table>
  );
}

function File({ file: { name, size }, url }: { file: FileRow; url: string }) {
  const [isShown, setShown] = useState(false);
  const kind = previewOf(name, size);
  return (
    <>
      <tr>
        <th scope="row">{name}</th>
        <td class="number">{formatSize(size)}</td>
        <td>
          <a href={url} download="">
            Download
          </a>{' '}
          {kind && (
            <button type="button" aria-expanded={isShown} onClick={() => setShown(!isShown)}>
              {isShown ? 'Hide' : 'Show'}
            </button>
          )}
        </td>
      </tr>
      {isShown && kind && (
        <tr>
          <td colSpan={3} class="preview">
            <Preview kind={kind} name={name} url={url} />
          </td>
        </tr>
      )}
    </>
  );
}
