/** Decoders of one-shot requests between peers, of their answers, and of what a validator noted of blocks. */
import { decodeBlockRecord, encodeBlockRecord } from '../../../src/consensus/vote-records.ts'
import { cborCid } from '../../../src/crypto/hash.ts'
import {
  decodeAuditAnswer,
  decodeAuditQuestion,
  encodeAuditAnswer,
  encodeAuditQuestion,
} from '../../../src/peer/audit-messages.ts'
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

/** @param valid - parts of one block. */
export function peerDecoders(valid: {
  readonly header: Uint8Array
  readonly certificate: Uint8Array
  readonly body: Uint8Array
}): readonly FuzzedDecoder[] {
  const { body, certificate, header } = valid
  const block = { header, certificate, body }
  const certified = { header, certificate }
  return [
    {
      name: 'decodeBlockRecord',
      samples: [encodeBlockRecord({ headerBytes: header, body })],
      run: (bytes) => {
        const found = decodeBlockRecord(bytes)
        return found === undefined ? 'refused' : encodeBlockRecord(found)
      },
    },
    {
      name: 'decodeAuditQuestion',
      samples: [
        encodeAuditQuestion({ leaves: [{ manifest: cborCid(body), index: 0, stripe: 3, column: 1, leaf: 63 }] }),
      ],
      run: (bytes) => encodeAuditQuestion(decodeAuditQuestion(bytes)),
    },
    {
      name: 'decodeAuditAnswer',
      samples: [encodeAuditAnswer({ leaves: [{ bytes: new Uint8Array(100), path: [new Uint8Array(32)] }, null] })],
      run: (bytes) => encodeAuditAnswer(decodeAuditAnswer(bytes)),
    },
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
