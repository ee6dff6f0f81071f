/** What a frame of smux, version 1, says of its stream. */
export const SmuxCommand = { Open: 0, End: 1, Data: 2, Nothing: 3 } as const;
type Command = (typeof SmuxCommand)[keyof typeof SmuxCommand];

/** A frame, or a piece of the data of one: data is handed on as it comes. */
export interface SmuxFrame {
  command: Command;
  stream: number;
  data: Buffer;
}

/** Bytes that are no smux of this version. */
export class SmuxError extends Error {}

const VERSION = 1;
const HEADER_BYTES = 8;
/** The length is a number of 16 bits; a frame this long lets the others of a slow connection have their turn. */
const MAX_DATA_BYTES = 16 * 1024;
const EMPTY = Buffer.alloc(0);

/** A frame without data. */
export function smuxFrame(command: Command, stream: number): Buffer {
  return frame(command, stream, EMPTY);
}

/** The frames that carry these bytes. */
export function* smuxData(stream: number, data: Buffer): Generator<Buffer> {
  for (let from = 0; from < data.length; from += MAX_DATA_BYTES)
    yield frame(SmuxCommand.Data, stream, data.subarray(from, from + MAX_DATA_BYTES));
}

function frame(command: Command, stream: number, data: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt8(VERSION, 0);
  header.writeUInt8(command, 1);
  header.writeUInt16LE(data.length, 2);
  header.writeUInt32LE(stream, 4);
  return Buffer.concat([header, data]);
}

/** Reads frames from bytes however they are cut. It keeps no more than a header. */
export class SmuxReader {
  private readonly header = Buffer.alloc(HEADER_BYTES);
  /** Of the header, bytes that are there. */
  private filled = 0;
  /** Of the data of the frame of the header, bytes that are yet to come. */
  private remaining = 0;

  /** @throws SmuxError, and after that nothing can be read any more. */
  *read(bytes: Buffer): Generator<SmuxFrame> {
    let at = 0;
    while (at < bytes.length) {
      if (this.remaining > 0) {
        const data = bytes.subarray(at, at + this.remaining);
        at += data.length;
        this.remaining -= data.length;
        yield { command: SmuxCommand.Data, stream: this.header.readUInt32LE(4), data };
        continue;
      }
      const copied = bytes.copy(this.header, this.filled, at, at + HEADER_BYTES - this.filled);
      at += copied;
      this.filled += copied;
      if (this.filled < HEADER_BYTES) return;
      this.filled = 0;
      const command = this.command();
      if (command !== SmuxCommand.Data) yield { command, stream: this.header.readUInt32LE(4), data: EMPTY };
    }
  }

  /** Checks the header. */
  private command(): Command {
    const [version, command] = this.header;
    const length = this.header.readUInt16LE(2);
    if (version !== VERSION) throw new SmuxError(`a frame has the version ${version} instead of ${VERSION}`);
    if (command > SmuxCommand.Nothing) throw new SmuxError(`a frame has the unknown command ${command}`);
    if (command === SmuxCommand.Data) this.remaining = length;
    else if (length > 0) throw new SmuxError(`a frame with the command ${command} has ${length} bytes of data`);
    return command as Command;
  }
}
