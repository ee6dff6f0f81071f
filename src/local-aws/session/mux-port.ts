import type { Socket } from 'node:net';
import type { PortOutput, PortSide } from './port';

const COMMANDS = { open: 0, end: 1, data: 2, nothing: 3 } as const;
const HEADER_BYTES = 8;
const MAX_FRAME_BYTES = 32 * 1024;
/** What servers have not read, bytes: with more, nothing is read from the client. */
const MAX_UNREAD_BYTES = 16 * 1024 * 1024;

interface MuxStream {
  socket?: Socket;
  /** For the socket that is being opened. */
  waiting: Buffer[];
  ended: boolean;
}

/** As newer agents: many connections, multiplexed by smux. Source: xtaci/smux's own, with version 1 of its protocol. */
export class MuxPort implements PortSide {
  readonly ready = true;
  private received: Buffer = Buffer.alloc(0);
  private readonly streams = new Map<number, MuxStream>();
  private blocked = false;
  /** Connections are opened one after the other. */
  private dialling: Promise<void> = Promise.resolve();

  constructor(
    private readonly dialled: () => Promise<Socket>,
    private readonly output: PortOutput,
  ) {}

  write(data: Buffer): void {
    this.received = Buffer.concat([this.received, data]);
    let at = 0;
    while (this.received.length - at >= HEADER_BYTES) {
      const [version, command] = this.received.subarray(at);
      const length = this.received.readUInt16LE(at + 2);
      const stream = this.received.readUInt32LE(at + 4);
      if (version !== 1 || command > COMMANDS.nothing) return this.output.end('');
      const isData = command === COMMANDS.data;
      if (isData && this.received.length - at - HEADER_BYTES < length) break;
      at += HEADER_BYTES;
      if (command === COMMANDS.open) this.open(stream);
      else if (command === COMMANDS.end) this.end(stream);
      else if (isData) {
        this.data(stream, this.received.subarray(at, at + length));
        at += length;
      }
    }
    this.received = this.received.subarray(at);
    this.check();
  }

  disconnect(): void {
    // It is a word of clients with one connection.
  }

  kill(): void {
    for (const { socket } of this.streams.values()) socket?.destroy();
    this.streams.clear();
  }

  private open(id: number): void {
    if (this.streams.has(id)) return;
    const stream: MuxStream = { waiting: [], ended: false };
    this.streams.set(id, stream);
    this.dialling = this.dialling.then(async () => {
      try {
        const socket = await this.dialled();
        if (!this.streams.has(id)) return void socket.destroy();
        stream.socket = socket;
        socket.on('drain', () => this.check());
        for (const data of stream.waiting.splice(0)) socket.write(data);
        if (stream.ended) socket.destroySoon();
        void this.read(id, socket);
      } catch {
        this.output.refused();
        this.close(id);
      }
    });
  }

  /** The client's end closes the connection to the server as a whole. */
  private end(id: number): void {
    const stream = this.streams.get(id);
    if (!stream) return;
    stream.ended = true;
    stream.socket?.destroySoon();
  }

  private data(id: number, data: Buffer): void {
    const stream = this.streams.get(id);
    if (stream?.socket) stream.socket.write(data);
    else stream?.waiting.push(data);
  }

  private async read(id: number, socket: Socket): Promise<void> {
    try {
      for await (const data of socket as AsyncIterable<Buffer>) {
        for (let from = 0; from < data.length; from += MAX_FRAME_BYTES)
          await this.output.send(frame(COMMANDS.data, id, data.subarray(from, from + MAX_FRAME_BYTES)));
      }
    } catch {
      // It was closed.
    }
    this.close(id);
    socket.destroySoon();
  }

  private close(id: number): void {
    if (!this.streams.delete(id)) return;
    void this.output.send(frame(COMMANDS.end, id));
    this.check();
  }

  private check(): void {
    let unread = 0;
    for (const { socket, waiting } of this.streams.values())
      unread += (socket?.writableLength ?? 0) + waiting.reduce((sum, { length }) => sum + length, 0);
    const blocked = unread > MAX_UNREAD_BYTES;
    if (blocked === this.blocked) return;
    this.blocked = blocked;
    this.output.block(blocked);
  }
}

function frame(command: number, stream: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const all = Buffer.alloc(HEADER_BYTES + data.length);
  all[0] = 1;
  all[1] = command;
  all.writeUInt16LE(data.length, 2);
  all.writeUInt32LE(stream, 4);
  data.copy(all, HEADER_BYTES);
  return all;
}
