/** Decoders of `/apotheca/shards/1`: messages, and frames that come in pieces. */
import { DAG_CBOR, digestCid } from '../../../src/crypto/hash.ts'
import {
  PushReader,
  ReplyReader,
  encodePushHead,
  encodeReplyHead,
  encodeShardHead,
  encodeStored,
  encodeCopyHead,
} from '../../../src/p2p/shard-frames.ts'
import {
  decodeAccepted,
  decodeRefused,
  decodeReserve,
  decodeShardReceipt,
  encodeAccepted,
  encodeRefused,
  encodeReserve,
  encodeShardReceipt,
} from '../../../src/p2p/shard-messages.ts'
import type { FuzzedDecoder } from './decoders.ts'
import { piecesOf, withRest } from './frame-decoders.ts'

function pushes(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = []
  const reader = new PushReader({
    onFrame: (kind, head, through) => void parts.push(encodePushHead(kind, head.length + through), head),
    onPart: (part) => void parts.push(part),
    onEnd: () => undefined,
  })
  for (const piece of piecesOf(bytes)) reader.push(piece)
  return withRest(parts, bytes)
}

function replies(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = []
  const reader = new ReplyReader((kind, body) => void parts.push(encodeReplyHead(kind, body.length), body))
  for (const piece of piecesOf(bytes)) reader.push(piece)
  return withRest(parts, bytes)
}

export function shardDecoders(): readonly FuzzedDecoder[] {
  const digest = new Uint8Array(32).fill(9)
  const link = digestCid(DAG_CBOR, digest)
  const reserve = {
    chain: link,
    manifest: link,
    index: 3,
    code: { data: 6, parity: 4 },
    column: 9,
    bytes: 1_000_000,
    expiresMs: 1_800_000_000_000,
  }
  const accepted = encodeAccepted({ held: new Uint8Array([0xa0]) })
  const frames = [
    encodePushHead('reserve', 3),
    new Uint8Array(3).fill(1),
    encodeShardHead({ stripe: 7, digest, audit: digest, bytes: 50 }),
    new Uint8Array(50).fill(2),
    encodeShardHead({ stripe: 8, digest, audit: digest, bytes: 0 }),
    encodeCopyHead({ digest, bytes: 20 }),
    new Uint8Array(20).fill(3),
    encodePushHead('finish', 0),
  ]
  const answers = [encodeReplyHead('accepted', accepted.length), accepted, encodeStored(2), encodeStored(9)]
  return [
    { name: 'PushReader', samples: [new Uint8Array(Buffer.concat(frames))], run: pushes },
    { name: 'ReplyReader', samples: [new Uint8Array(Buffer.concat(answers))], run: replies },
    {
      name: 'decodeReserve',
      samples: [
        encodeReserve(reserve),
        encodeReserve({ ...reserve, map: new Uint8Array(40) }),
        encodeReserve({ ...reserve, copyBytes: 9_000 }),
      ],
      run: (bytes) => encodeReserve(decodeReserve(bytes)),
    },
    { name: 'decodeAccepted', samples: [accepted], run: (bytes) => encodeAccepted(decodeAccepted(bytes)) },
    {
      name: 'decodeRefused',
      samples: [encodeRefused({ code: 'STORE_FULL', usedBytes: 5, askedBytes: 7 })],
      run: (bytes) => encodeRefused(decodeRefused(bytes)),
    },
    {
      name: 'decodeShardReceipt',
      samples: [encodeShardReceipt({ column: 3, expiresMs: 5, signature: new Uint8Array(64).fill(4) })],
      run: (bytes) => encodeShardReceipt(decodeShardReceipt(bytes)),
    },
  ]
}
