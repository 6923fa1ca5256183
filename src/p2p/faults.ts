import { EXIT, type FaultTable } from '../core/coded-error.ts'

export const p2pFaults = {
  P2P_NOT_A_MEMBER: {
    says: 'The peer {peer} at {address} is not a member of this consortium.',
    todo: 'Compare the peer id with the genesis; if the institution has a new peer, its administrator must add it on the ledger.',
    http: 403,
    exit: EXIT.denied,
  },
  P2P_LISTEN_FAILED: {
    says: 'This peer cannot listen on {address}: {reason}.',
    todo: 'Stop what uses the port (EADDRINUSE), or give another address under "listen" in the peer\'s config.',
    http: 503,
    exit: EXIT.unavailable,
  },
  P2P_ADDRESS_MALFORMED: {
    says: '"{address}" is not a multiaddr.',
    todo: 'Write it like /ip4/192.0.2.7/tcp/4101 or /dns4/peer.example.org/tcp/4101.',
    http: 400,
    exit: EXIT.usage,
  },
  P2P_PEER_ID_MALFORMED: {
    says: '"{peer}" is not a peer id.',
    todo: 'Copy the peer id again, whole; it begins with 12D3Koo.',
    http: 400,
    exit: EXIT.usage,
  },
  STREAM_STALLED: {
    says: 'The other side has taken no byte for {stallMs} ms.',
    todo: 'Nothing: the stream was ended to free its memory. The reader may ask again.',
    http: 504,
    exit: EXIT.unavailable,
  },
  STREAM_CLOSED: {
    says: 'The stream to the other peer was closed.',
    todo: 'Try again; "apotheca status" shows which members are connected.',
    http: 503,
    exit: EXIT.unavailable,
  },
  BLOCK_FRAME_MALFORMED: {
    says: 'A frame of the block exchange is broken: {field}.',
    todo: 'The other peer runs a faulty or a different version; compare versions with its operator.',
    http: 502,
    exit: EXIT.integrity,
  },
  BLOCK_WANTS_TOO_MANY: {
    says: 'A peer has more than {wantsMax} wants queued on one stream.',
    todo: 'Ask for fewer blocks at a time; answers come in the order of the wants.',
    http: 429,
    exit: EXIT.capacity,
  },
  BLOCK_UNAVAILABLE: {
    says: 'The block {cid} could not be fetched. Asked: {asked}. Refused for altered bytes: {altered}.',
    todo: 'Check with "apotheca status" that a peer which holds it is connected, then run the command again: it resumes.',
    http: 503,
    exit: EXIT.unavailable,
  },
  BLOCK_ALTERED: {
    says: 'The peer {peer} sent bytes for {cid} that have another hash.',
    todo: 'Nothing was used of it. Tell the operator of that peer: its disk or its software is damaged.',
    http: 502,
    exit: EXIT.integrity,
  },
  BLOCK_PROVIDER_MALFORMED: {
    says: 'The peer {peer} answered a want with something else ({field}).',
    todo: 'Another provider takes over. Compare versions with its operator.',
    http: 502,
    exit: EXIT.integrity,
  },
  BLOCK_PROVIDER_GONE: {
    says: 'The peer {peer} went away during a fetch: {reason}.',
    todo: 'Nothing when another provider is left: it takes over. Otherwise try again when the peer is back.',
    http: 503,
    exit: EXIT.unavailable,
  },
  BLOCK_PROVIDER_SILENT: {
    says: 'The peer {peer} has been silent for {silentMs} ms during a fetch.',
    todo: 'Nothing: another provider was asked for the same blocks.',
    http: 504,
    exit: EXIT.unavailable,
  },
  REQUEST_TIMEOUT: {
    says: 'The peer {peer} did not answer on {protocol} within {timeoutMs} ms.',
    todo: 'Try again; "apotheca status" shows whether that peer is connected.',
    http: 504,
    exit: EXIT.unavailable,
  },
  REQUEST_PEER_UNREACHABLE: {
    says: 'The peer {peer} could not be asked on {protocol}.',
    todo: 'Check the connection to that peer with "apotheca status".',
    http: 503,
    exit: EXIT.unavailable,
  },
  REQUEST_TOO_LARGE: {
    says: 'The message has {bytes} bytes; at most {bytesMax} are accepted.',
    todo: 'Send less at a time.',
    http: 413,
    exit: EXIT.capacity,
  },
  REQUEST_ANSWER_MALFORMED: {
    says: 'The answer of {peer} on {protocol} is broken.',
    todo: 'The other peer runs a faulty or a different version; compare versions with its operator.',
    http: 502,
    exit: EXIT.integrity,
  },
  REQUEST_REFUSED: {
    says: 'The peer {peer} refused the request on {protocol}: {reason}.',
    todo: 'Look that code up in docs/faults.md.',
    http: 409,
    exit: EXIT.conflict,
  },
  GOSSIP_TOO_LARGE: {
    says: 'The gossip message has {bytes} bytes; at most {bytesMax} are sent.',
    todo: 'Large structures travel by CID, not by gossip.',
    http: 413,
    exit: EXIT.capacity,
  },
} as const satisfies FaultTable
