import { useEffect, useState } from 'preact/hooks';
import { Loading } from './parts';
import { parseTable } from './table-text';

export type PreviewKind = 'image' | 'table' | 'text';

/** Larger files are only downloaded, bytes. */
const MAX_SIZES: Record<PreviewKind, number> = { image: 20 * 1024 * 1024, table: 1024 * 1024, text: 1024 * 1024 };
const ENDINGS: Record<PreviewKind, RegExp> = {
  image: /\.(png|jpe?g)$/i,
  table: /\.(csv|tsv)$/i,
  text: /\.(txt|log|md|jsonl?|ya?ml|toml|ini|cfg)$/i,
};
/** Rows and columns of a table that are shown. */
const MAX_ROWS = 200;
const MAX_COLUMNS = 50;

/** How a file can be shown, by its name; null: it is only downloaded. */
export function previewOf(name: string, size: number): PreviewKind | null {
  const kinds = Object.keys(ENDINGS) as PreviewKind[];
  return kinds.find((kind) => ENDINGS[kind].test(name) && size <= MAX_SIZES[kind]) ?? null;
}

type Shown = { image: string } | { text: string } | { why: string };

/** A file on the page: an image from a copy in memory, anything else as text. */
export function Preview({ kind, name, url }: { kind: PreviewKind; name: string; url: string }) {
  const [shown, setShown] = useState<Shown | null>(null);
  useEffect(() => {
    const controller = new AbortController();
    let image = '';
    const load = async () => {
      const response = await fetch(url, { signal: controller.signal });
      if (!response.ok) throw new Error(response.statusText);
      const found = show(kind, new Uint8Array(await response.arrayBuffer()));
      if ('image' in found) image = found.image;
      if (controller.signal.aborted) URL.revokeObjectURL(image);
      else setShown(found);
    };
    load().catch(() => controller.signal.aborted || setShown({ why: "The file can't be read." }));
    return () => {
      controller.abort();
      URL.revokeObjectURL(image);
    };
  }, [url]);
  if (!shown) return <Loading />;
  if ('why' in shown) return <p class="note">{shown.why}</p>;
  if ('image' in shown)
    return <img src={shown.image} alt={name} onError={() => setShown({ why: 'The image is damaged.' })} />;
  if (kind === 'table') return <TextTable name={name} text={shown.text} />;
  return (
    <pre class="text" tabIndex={0}>
      {shown.text}
    </pre>
  );
}

/** An image is a PNG or JPEG by its first bytes: nothing else is handed to the browser as one. */
function show(kind: PreviewKind, bytes: Uint8Array<ArrayBuffer>): Shown {
  if (kind !== 'image') return { text: new TextDecoder().decode(bytes) };
  const type = imageType(bytes);
  if (type === null) return { why: 'The file is no PNG and no JPEG.' };
  return { image: URL.createObjectURL(new Blob([bytes], { type })) };
}

function imageType(bytes: Uint8Array): string | null {
  const begins = (...start: number[]) => start.every((byte, at) => bytes[at] === byte);
  if (begins(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)) return 'image/png';
  return begins(0xff, 0xd8, 0xff) ? 'image/jpeg' : null;
}

function TextTable({ name, text }: { name: string; text: string }) {
  const { rows, isCut } = parseTable(text, /\.tsv$/i.test(name) ? '\t' : ',', MAX_ROWS + 1);
  const [head = [], ...body] = rows.map((row) => row.slice(0, MAX_COLUMNS));
  const hasMoreColumns = rows.some((row) => row.length > MAX_COLUMNS);
  return (
    <div class="scroll">
      <table>
        <caption class="unseen">{name}</caption>
        <thead>
          <tr>
            {head.map((cell, at) => (
              <th key={at} scope="col">
                {cell}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {body.map((row, n) => (
            <tr key={n}>
              {row.map((cell, at) => (
                <td key={at}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {(isCut || hasMoreColumns) && (
        <p class="note">
          Only the first {MAX_ROWS} rows and {MAX_COLUMNS} columns are shown.
        </p>
      )}
    </div>
  );
}
