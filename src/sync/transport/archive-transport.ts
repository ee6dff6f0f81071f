import { createHash, randomBytes } from 'node:crypto';
import { PassThrough, Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type * as Tar from 'tar';
import { formatSize } from '../../report/units';
import { nothing, type Transfer, type TransferRequest, type Transport } from './transport';
import { FileMoved } from '../../snapshot/file-moved';
import type { SyncContext } from '../context';

/** What tar adds to a file: its header, with room for a long name. */
const TAR_HEADER_BYTES = 1_536;

/**
 * The plain way: one gzip-compressed tar of the files that are needed, whole. Anyone can look into it.
 * It streams from the disk to S3, so memory stays bounded whatever the size.
 */
export const archiveTransport: Transport = {
  deliver: (context, request) => deliver(context, request, true),
};

/**
 * The archive for a server that lacks what the store needs: it may refuse checksum headers too. The instance checks
 * the archive's SHA-256, which travels in the command.
 */
export const plainArchiveTransport: Transport = {
  deliver: (context, request) => deliver(context, request, false),
};

async function deliver(context: SyncContext, { missing }: TransferRequest, checksums: boolean): Promise<Transfer> {
  if (missing.length === 0) return nothing();
  const { store, keys, printer, signal, workspaceRoot } = context;
  const key = keys.archive(randomBytes(12).toString('hex'));
  const total = missing.reduce((sum, { size }) => sum + size + TAR_HEADER_BYTES, 0);
  const progress = printer.progress('Uploading', total);
  const hash = createHash('sha256');
  let read = 0;
  let size = 0;
  const counted = new Transform({
    transform(part: Buffer, _encoding, done) {
      progress.update((read += part.length));
      done(null, part);
    },
  });
  const hashed = new Transform({
    transform(part: Buffer, _encoding, done) {
      hash.update(part);
      size += part.length;
      done(null, part);
    },
  });
  const body = new PassThrough();
  // `./`: a name that begins with @ would be read as the name of an archive to include.
  const names = missing.map(({ path }) => `./${path}`);
  // Loaded here, since most syncs send packs.
  // eslint-disable-next-line @typescript-eslint/no-require-imports
  const { create } = require('tar') as typeof Tar;
  const tar = create({ cwd: workspaceRoot, portable: true, noDirRecurse: true, strict: true }, names);
  try {
    const packed = pipeline(
      Readable.from(tar as AsyncIterable<Buffer>),
      counted,
      createGzip({ level: 6 }),
      hashed,
      body,
      { signal },
    );
    await Promise.all([
      packed.catch((error) => {
        body.destroy(error as Error);
        throw archiveProblem(error as NodeJS.ErrnoException);
      }),
      store.upload(key, body, { signal, checksums }),
    ]);
  } finally {
    progress.end();
  }
  printer.detail(`Archive: ${formatSize(size)} for ${formatSize(total)} of files, s3://${store.bucket}/${key}`);
  const transfer = nothing();
  transfer.part.archive = { url: await store.presignGet(key), sha256: hash.digest('hex'), size };
  return { ...transfer, uploaded: () => size, leftovers: [key] };
}

function archiveProblem(error: NodeJS.ErrnoException): Error {
  const moved =
    error.code === 'ENOENT' ||
    error.code === 'EOF' ||
    /did not encounter expected EOF|encountered unexpected EOF/.test(error.message);
  return moved ? new FileMoved(error.message, error) : error;
}
