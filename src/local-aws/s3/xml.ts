import type { ServiceResponse } from '../protocol/service';
import { XMLParser } from 'fast-xml-parser';

export const NAMESPACE = 'http://s3.amazonaws.com/doc/2006-03-01/';

export function xml(body: string): ServiceResponse {
  return {
    status: 200,
    headers: { 'content-type': 'application/xml' },
    body: `<?xml version="1.0" encoding="UTF-8"?>\n${body}`,
  };
}

export function parseXml(body: Buffer): unknown {
  return new XMLParser({ parseTagValue: false, trimValues: false, htmlEntities: true }).parse(body.toString('utf8'));
}
