import { duration, size } from '../config/syntax/units';
import { NETWORK_PROFILES, type NetworkProfile } from '../local-aws/link/network';

/** Where only a distance is given, a new connection costs what one of TLS 1.3 does. */
const TLS_ROUND_TRIPS = 2;
const PREFIXES = { '': 1, k: 1e3, m: 1e6, g: 1e9 };

/**
 * A profile by its name, or a client's link in words: `60ms`, `60ms,50Mbit` (each way), `60ms,50Mbit,200Mbit` (up and
 * down). A rate is in bits (`50Mbit`) or bytes (`1MB`) a second.
 * @throws Error that says what was not understood.
 */
export function networkProfile(text: string): NetworkProfile {
  if (Object.hasOwn(NETWORK_PROFILES, text)) return NETWORK_PROFILES[text];
  const [roundTrip, up, down = up, ...more] = text.split(',');
  const parsed = duration.safeParse(roundTrip);
  if (!parsed.success || more.length) {
    const names = Object.keys(NETWORK_PROFILES).join(', ');
    throw new Error(`--network takes ${names}, or a round trip and rates such as 60ms,50Mbit,200Mbit; not ${text}`);
  }
  return { client: { roundTrip: parsed.data, connect: TLS_ROUND_TRIPS, up: rate(up), down: rate(down) } };
}

/** Bytes a second. */
function rate(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const bits = /^(\d+(?:\.\d+)?)([kmg]?)bit$/i.exec(text.trim());
  if (bits) return (Number(bits[1]) * PREFIXES[bits[2].toLowerCase() as keyof typeof PREFIXES]) / 8;
  const parsed = size.safeParse(text);
  if (!parsed.success) throw new Error(`--network: ${text} is not a rate per second, such as 50Mbit or 1MB`);
  return parsed.data;
}
