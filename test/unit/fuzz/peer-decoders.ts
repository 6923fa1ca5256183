/** Decoders of one-shot requests between peers, and of their answers. */
import {
  decodeSyncAnswer,
  decodeSyncRequest,
  decodeTxAnswer,
  encodeSyncAnswer,
  encodeSyncRequest,
  encodeTxAnswer,
} from '../../../src/peer/ledger-messages.ts'
import {
  decodeEpochsAnswer,
  decodeHeadersAnswer,
  decodeSnapshotRequest,
  encodeEpochsAnswer,
  encodeHeadersAnswer,
  encodeSnapshotRequest,
} from '../../../src/peer/snapshot-messages.ts'
import type { FuzzedDecoder } from './decoders.ts'

export function peerDecoders(block: {
  readonly header: Uint8Array
  readonly certificate: Uint8Array
  readonly body: Uint8Array
}): readonly FuzzedDecoder[] {
  const { certificate, header } = block
  const certified = { header, certificate }
  return [
    {
      name: 'decodeSyncRequest',
      samples: [encodeSyncRequest({ from: 1, count: 256 })],
      run: (bytes) => encodeSyncRequest(decodeSyncRequest(bytes)),
    },
    {
      name: 'decodeSyncAnswer',
      samples: [encodeSyncAnswer({ head: 9, blocks: [block, block] }), encodeSyncAnswer({ head: 0, blocks: [] })],
      run: (bytes) => encodeSyncAnswer(decodeSyncAnswer(bytes)),
    },
    {
      name: 'decodeTxAnswer',
      samples: [encodeTxAnswer({}), encodeTxAnswer({ fault: { code: 'TX_EXPIRED', expiresMs: 7 } })],
      run: (bytes) => encodeTxAnswer(decodeTxAnswer(bytes)),
    },
    {
      name: 'decodeSnapshotRequest',
      samples: [
        encodeSnapshotRequest({ kind: 'epochs', from: 0 }),
        encodeSnapshotRequest({ kind: 'chunk', height: 1_000, from: new Uint8Array(32).fill(9) }),
        encodeSnapshotRequest({ kind: 'headers', from: 999 }),
      ],
      run: (bytes) => encodeSnapshotRequest(decodeSnapshotRequest(bytes)),
    },
    {
      name: 'decodeEpochsAnswer',
      samples: [
        encodeEpochsAnswer({ ends: [certified, certified], newest: certified }),
        encodeEpochsAnswer({ ends: [], newest: null }),
      ],
      run: (bytes) => encodeEpochsAnswer(decodeEpochsAnswer(bytes)),
    },
    {
      name: 'decodeHeadersAnswer',
      samples: [encodeHeadersAnswer({ headers: [header, header] }), encodeHeadersAnswer({ headers: [] })],
      run: (bytes) => encodeHeadersAnswer(decodeHeadersAnswer(bytes)),
    },
  ]
}
