import type { LinkProfile, NetworkProfile } from '../../src/local-aws/link/network';
import { total, type Floor } from '../report/floor';

/**
 * The round trips that SSH over a Session Manager tunnel costs before the remote program is started, one after another,
 * ms. The request that starts it (`exec`) is in no part: it is sent together with the first data.
 *
 * Not in it, all in favor of SSH: the start of the AWS CLI and of its plugin, the agent's start of the session, the
 * processor time of cryptography, the tunnel's frames of 1,024 bytes and their acknowledgements.
 * @param kept the connection is open already, as by ControlMaster.
 */
export function sshOverSsm(network: NetworkProfile, kept: boolean): Floor {
  const { roundTrip = 0, connect = 0 } = network.client ?? {};
  const throughTunnel = tunnelRoundTrip(network);
  const channel: Floor = [["SSH: the session's channel", throughTunnel]];
  if (kept) return channel;
  return [
    ['connection to SSM', connect * roundTrip],
    ['StartSession', roundTrip],
    ["connection to the session's stream", connect * roundTrip],
    ['its upgrade to a WebSocket', roundTrip],
    ["the tunnel's token, the agent's handshake request", throughTunnel],
    ['its response, its completion', throughTunnel],
    ['SSH: versions, KEXINIT', throughTunnel],
    ['SSH: ECDH', throughTunnel],
    ['SSH: NEWKEYS, request of the authentication service', throughTunnel],
    ['SSH: the methods of authentication', throughTunnel],
    ['SSH: whether the public key is accepted', throughTunnel],
    ['SSH: signature', throughTunnel],
    ...channel,
  ];
}

/** What carries the bytes of a program behind such a tunnel: it is connected when the remote program is started. */
export function sshLink(network: NetworkProfile, kept: boolean): LinkProfile {
  const roundTrip = tunnelRoundTrip(network);
  const wait = total(sshOverSsm(network, kept));
  return { ...network.client, roundTrip, connect: roundTrip ? wait / roundTrip : 0 };
}

/** From the client to SSM, and from there to the instance. */
function tunnelRoundTrip({ client = {}, instance = {} }: NetworkProfile): number {
  return (client.roundTrip ?? 0) + (instance.roundTrip ?? 0);
}
