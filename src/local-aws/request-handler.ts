import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { isVerifiedByHead, now, pause, read } from './protocol/answer';
import { AwsError } from './protocol/aws-error';
import { Calls } from './calls';
import { decodeUri } from './protocol/decode-uri';
import { faultError, withoutHeaders, type Faults } from './link/faults';
import { allow, type Identities } from './protocol/identity';
import { headSize, linkOf, type Link, type LinkName, type Network } from './link/network';
import { CONDITIONS } from './s3/conditions';
import type { S3Service } from './s3/service';
import type { Service, ServiceRequest, ServiceResponse } from './protocol/service';
import { chunkSigner, readAuthorization, verifyAuthorization, type Authorization } from './protocol/signature';
import { verifyV2Url } from './protocol/signature-v2';
import type { AnsweredRequest } from './types';
import { UnverifiedBodies } from './protocol/unverified-bodies';

export interface HandlerOptions {
  /** By the name that requests are signed for. */
  services: Record<string, Service> & { s3: S3Service };
  identities: Identities;
  faults: Faults;
  network: Network;
  /** Keeps each request and call for whoever wants to see them. */
  history?: boolean;
}

/** A request on its link. */
interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  id: string;
  link: Link;
  linkName: LinkName;
  path: string;
  query: string;
  /** When it was on the wire. */
  sent: number;
}

/** What a request asks for, as far as it is known. */
interface Asked {
  service: Service;
  name: string;
  /** S3: the method. */
  action: string;
  request?: ServiceRequest;
}

/** Answers requests of AWS's clients: receives each over its link, verifies its sender, has its service handle it. */
export class RequestHandler {
  readonly requests: AnsweredRequest[] = [];
  readonly calls = new Calls();
  network: Network;
  private readonly opened = new WeakMap<Socket, number>();
  private readonly unverified = new UnverifiedBodies();

  constructor(private readonly options: HandlerOptions) {
    this.network = options.network;
  }

  /** A client has connected. */
  open(socket: Socket): void {
    this.opened.set(socket, performance.now());
  }

  /** Waits until a client's connection is set up, as far away as the client is. */
  connected(socket: Socket, link: Link = this.network.client): Promise<void> {
    return link.connected(socket, this.opened.get(socket)!);
  }

  /** @param asksFirst the client waits for leave to send the body. */
  async answer(request: IncomingMessage, response: ServerResponse, asksFirst: boolean): Promise<void> {
    const id = randomUUID();
    const linkName = linkOf(request, (key) => this.options.identities.get(key)?.instance !== undefined);
    const link = this.network[linkName];
    await this.connected(request.socket, link);
    const [path, query = ''] = (request.url ?? '/').split('?');
    const exchange: Exchange = { request, response, id, link, linkName, path, query, sent: now() };
    if (asksFirst) {
      await link.thereAndBack();
      response.writeContinue();
    }
    const received = await this.receive(exchange);
    if (!received) return;
    const { s3 } = this.options.services;
    const asked: Asked = { service: s3, name: 's3', action: request.method ?? '' };
    const answered = await this.handle(exchange, received.body, asked);
    if (answered) await this.respond(exchange, asked, answered, received.size);
    else response.destroy();
  }

  /** @returns null where the body was refused, which is answered. */
  private async receive({ request, response, link, id }: Exchange): Promise<{ body: Buffer; size: number } | null> {
    const { identities, services } = this.options;
    const limited = isVerifiedByHead(request, identities) ? undefined : this.unverified.open();
    // Until the answer is through, or the client is gone.
    response.once('close', () => limited?.release());
    try {
      const received = await link.receive(request, limited);
      limited?.complete();
      return received;
    } catch (error) {
      if (!(error instanceof AwsError)) throw error;
      const { status, headers, body } = services.s3.error(error, id);
      response.writeHead(status, { ...headers, connection: 'close' }).end(body);
      return null;
    }
  }

  /** @returns null where a fault cuts the connection instead of an answer. */
  private async handle(exchange: Exchange, body: Buffer, asked: Asked): Promise<ServiceResponse | null> {
    const { faults, services } = this.options;
    try {
      const request = this.verify(exchange, body, asked);
      // S3 knows by itself which permission a request needs.
      if (asked.name !== 's3') allow(request.identity, `${asked.name}:${asked.action}`);
      const fault = faults.take(asked.name, asked.action, exchange.linkName, exchange.request);
      if (fault?.delay) await pause(fault.delay);
      if (fault?.cut === 'before') return null;
      const error = fault && faultError(fault);
      if (error) throw error;
      let handled = fault?.ignore ? withoutHeaders(request, fault.ignore) : request;
      if (fault?.apart !== undefined) {
        services.s3.checkWrite(handled);
        await pause(fault.apart);
        handled = withoutHeaders(handled, CONDITIONS);
      }
      const answered = await asked.service.handle(handled);
      if (this.options.history) this.calls.add(asked.name, asked.action, request);
      if (fault?.cut !== 'after') return answered;
      if (typeof answered.body === 'object' && 'file' in answered.body) closeSync(answered.body.file);
      return null;
    } catch (error) {
      if (!(error instanceof AwsError)) console.error(error);
      const known = error instanceof AwsError ? error : new AwsError('InternalError', String(error), 500);
      if (asked.request && this.options.history) this.calls.add(asked.name, asked.action, asked.request, known.code);
      return asked.service.error(known, exchange.id);
    }
  }

  /** Finds out which service is asked, for what and by whom. @throws AwsError where the signature is not right. */
  private verify(exchange: Exchange, body: Buffer, asked: Asked): ServiceRequest {
    const { headers, method = '' } = exchange.request;
    const query = new URLSearchParams(exchange.query);
    const authorization = readAuthorization(headers, query);
    const sender = authorization
      ? this.verifySigned(exchange, authorization, body, asked)
      : {
          identity: verifyV2Url(
            { method, rawPath: exchange.path, query, headers },
            this.options.identities,
            Date.now(),
          ),
        };
    const path = decodeUri(exchange.path);
    asked.request = {
      method,
      path,
      query,
      headers,
      body,
      ...sender,
      region: authorization?.region,
      requestId: exchange.id,
    };
    return asked.request;
  }

  private verifySigned(
    { request, path: rawPath, query: rawQuery }: Exchange,
    authorization: Authorization,
    body: Buffer,
    asked: Asked,
  ): Pick<ServiceRequest, 'identity' | 'signer'> {
    const { services, identities } = this.options;
    if (!Object.hasOwn(services, authorization.service))
      throw new AwsError('UnknownOperationException', `Local AWS has no service ${authorization.service}.`, 404);
    const isS3 = authorization.service === 's3';
    const target = String(request.headers['x-amz-target'] ?? '')
      .split('.')
      .pop();
    Object.assign(asked, {
      name: authorization.service,
      service: services[authorization.service],
      action: target || asked.action,
    });
    const identity = identities.get(authorization.accessKeyId) ?? null;
    const headers = { ...request.headers };
    // S3 signs what the request says of its body, and checks that by itself.
    if (!isS3) headers['x-local-body-sha256'] = createHash('sha256').update(body).digest('hex');
    verifyAuthorization(
      authorization,
      { method: request.method!, rawPath, rawQuery, headers },
      identity ?? undefined,
      Date.now(),
    );
    const signer = chunkSigner(authorization, identity!);
    // Parsed only after the sender is verified: 64 MiB of short fields become gigabytes.
    if (!isS3 && !target) asked.action = new URLSearchParams(body.toString()).get('Action') ?? asked.action;
    return { identity, signer };
  }

  /** Sends an answer as fast as the link carries it. @param up bytes of the request. */
  private async respond(
    { request, response, id, link, linkName, path, sent }: Exchange,
    { name, action }: Asked,
    answered: ServiceResponse,
    up: number,
  ): Promise<void> {
    const { status, body: content } = answered;
    const head = {
      'x-amz-request-id': id,
      date: new Date().toUTCString(),
      ...(typeof content === 'string' ? { 'content-length': Buffer.byteLength(content) } : {}),
      ...answered.headers,
    };
    response.writeHead(status, head);
    let down = headSize(Object.entries(head).flat().map(String));
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const last = await link.send(down, request.method === 'HEAD' ? [] : read(content), async (piece) => {
      down += piece.length;
      // As much as the client takes; it fails when the client is gone.
      if (!response.write(piece)) await once(response, 'drain', { signal: gone.signal });
    });
    down += last.length;
    if (this.options.history)
      this.requests.push({ service: name, action, status, path, link: linkName, sent, answered: now(), up, down });
    response.end(last);
  }
}
