/**
 * Every decoder of bytes that others wrote: peers, clients, a damaged disk. A new one is one entry here; decoders.test.ts fails
 * while one is missing.
 */
import { readFile } from 'node:fs/promises'
import { decodeMessage, encodeMessage } from '../../../src/consensus/messages.ts'
import { readKeystorePublic } from '../../../src/crypto/keystore.ts'
import { decodeBody, encodeBody } from '../../../src/ledger/block-body.ts'
import { decodeCertificate, encodeCertificate } from '../../../src/ledger/certificate.ts'
import { decodeGenesis, encodeGenesis, parseGenesisJson } from '../../../src/ledger/genesis.ts'
import { decodeFinalHeader, decodeHeader, encodeFinalHeader, encodeHeader } from '../../../src/ledger/header.ts'
import { decodeProof, encodeProof, type LightProof } from '../../../src/ledger/proof.ts'
import { decodeReceipt, decodeReceipts, encodeReceipt, encodeReceipts } from '../../../src/ledger/receipt.ts'
import {
  decodeSnapshotChunk,
  decodeSnapshotEntry,
  encodeSnapshotChunk,
  type SnapshotEntry,
} from '../../../src/ledger/snapshot.ts'
import { decodeStateProof, encodeStateProof } from '../../../src/ledger/state-proof.ts'
import { decodeKeyList, encodeKeyList } from '../../../src/ledger/state-tree-keys.ts'
import { decodeRoot, encodeRoot } from '../../../src/ledger/state-tree-page.ts'
import { decodeStateValue, encodeStateValue, treeChangeOf } from '../../../src/ledger/state.ts'
import { decodeEnvelope, encodeEnvelope, encodeTxBody } from '../../../src/ledger/transaction.ts'
import { decodeVote, encodeVote } from '../../../src/ledger/vote.ts'
import { parsePeerConfig } from '../../../src/peer/config.ts'
import { loadVectors } from '../../vectors/load.ts'
import { samples } from '../ledger/samples.ts'
import { bucketDecoders } from './bucket-decoders.ts'
import { frameDecoders } from './frame-decoders.ts'
import { peerDecoders } from './peer-decoders.ts'
import { shardDecoders } from './shard-decoders.ts'
import { storedDecoders } from './stored-decoders.ts'

export interface FuzzedDecoder {
  /** As it is exported. */
  readonly name: string
  /** Valid bytes; at least one. */
  readonly samples: readonly Uint8Array[]
  /**
   * Decodes.
   *
   * @returns what the decoded value is encoded as: must be the same bytes, since a hash or a signature may be over them.
   *   `'accepted'` where the encoding is not meant to be the only one (JSON; one with checksums). `'refused'` where the decoder
   *   says so without a fault.
   */
  readonly run: (bytes: Uint8Array) => Uint8Array | 'accepted' | 'refused'
}

const text = new TextDecoder()

/** A structure of the ledger: one encoding, and coded faults. */
function canonical<T>(
  name: string,
  decode: (bytes: Uint8Array) => T,
  encode: (value: T) => Uint8Array,
  ...valid: readonly Uint8Array[]
): FuzzedDecoder {
  return { name, samples: valid, run: (bytes) => encode(decode(bytes)) }
}

export async function fuzzedDecoders(): Promise<readonly FuzzedDecoder[]> {
  const valid = await samples()
  const [receipt] = decodeReceipts(valid.receipts)
  if (receipt === undefined) throw new Error('the sample block has receipts')
  const vote = decodeVote(valid.vote)
  const certificate = decodeCertificate(valid.certificate)
  const digest = new Uint8Array(32).fill(5)
  const stateValue = encodeStateValue({ version: 7, value: { name: 'x', at: 5, list: [1, null, digest] } })
  const stored = { namespace: 'account', key: digest, bytes: stateValue }
  const entryBytes = treeChangeOf(stored).entry ?? new Uint8Array(0)
  const encodeEntry = (entry: SnapshotEntry): Uint8Array => treeChangeOf(entry).entry ?? new Uint8Array(0)
  const proof: LightProof = {
    version: 1,
    genesis: null,
    links: [{ header: valid.header, certificate: valid.certificate }],
    newest: { header: valid.header, certificate: valid.certificate },
    block: null,
    subject: {
      kind: 'state',
      entries: [{ namespace: 'account', key: digest, value: stateValue, proof: valid.stateProof }],
    },
  }
  const chunk = { from: new Uint8Array(32), entries: [stored, stored], isLast: true, proof: [] }
  const leaf = decodeRoot(new Uint8Array(72).fill(3, 0, 64), 0)
  if (leaf === 'damaged') throw new Error('72 bytes are a leaf')
  const config = await readFile(new URL('../../../peer-configs/single.json', import.meta.url))
  return [
    canonical('decodeGenesis', decodeGenesis, encodeGenesis, valid.genesis),
    canonical(
      'decodeEnvelope',
      (bytes) => decodeEnvelope(bytes),
      ({ body, sigs }) => encodeEnvelope({ body: encodeTxBody(body), sigs }),
      valid.envelope,
    ),
    canonical('decodeHeader', decodeHeader, encodeHeader, valid.header),
    canonical('decodeCertificate', decodeCertificate, encodeCertificate, valid.certificate),
    canonical('decodeBody', decodeBody, encodeBody, valid.body),
    canonical('decodeFinalHeader', decodeFinalHeader, encodeFinalHeader, valid.finalHeader),
    canonical('decodeVote', decodeVote, encodeVote, valid.vote),
    canonical('decodeReceipt', decodeReceipt, encodeReceipt, encodeReceipt(receipt)),
    canonical('decodeReceipts', decodeReceipts, encodeReceipts, valid.receipts),
    canonical('decodeStateProof', decodeStateProof, encodeStateProof, valid.stateProof),
    canonical('decodeStateValue', decodeStateValue, encodeStateValue, stateValue),
    canonical('decodeProof', decodeProof, encodeProof, encodeProof(proof)),
    canonical('decodeSnapshotChunk', decodeSnapshotChunk, encodeSnapshotChunk, encodeSnapshotChunk(chunk)),
    canonical('decodeSnapshotEntry', decodeSnapshotEntry, encodeEntry, entryBytes),
    canonical(
      'decodeMessage',
      decodeMessage,
      encodeMessage,
      encodeMessage({ type: 'vote', vote }),
      encodeMessage({ type: 'certificate', certificate }),
      encodeMessage({ type: 'proposal', header: valid.header, body: valid.body, again: null, vote }),
      encodeMessage({ type: 'transactions', envelopes: [valid.envelope] }),
      encodeMessage({ type: 'ask', epoch: 1, view: 2 }),
    ),
    {
      name: 'decodeKeyList',
      samples: [encodeKeyList([new Uint8Array(20).fill(1), new Uint8Array(41).fill(2)])],
      run: (bytes) => {
        const keys = decodeKeyList(bytes)
        return keys === undefined ? 'refused' : encodeKeyList(keys)
      },
    },
    {
      name: 'decodeRoot',
      samples: [digest, encodeRoot(leaf)],
      run: (bytes) => {
        const root = decodeRoot(bytes, 1)
        return root === 'damaged' ? 'refused' : encodeRoot(root)
      },
    },
    {
      name: 'parseGenesisJson',
      samples: [new TextEncoder().encode(loadVectors<{ json: string }>('ledger-genesis').json)],
      run: (bytes) => {
        parseGenesisJson(text.decode(bytes))
        return 'accepted'
      },
    },
    {
      name: 'parsePeerConfig',
      samples: [new Uint8Array(config)],
      run: (bytes) => {
        parsePeerConfig(text.decode(bytes), '/fuzz/peer.json')
        return 'accepted'
      },
    },
    {
      name: 'readKeystorePublic',
      samples: [new TextEncoder().encode(loadVectors<{ file: string }>('keystore').file)],
      run: (bytes) => {
        readKeystorePublic(bytes)
        return 'accepted'
      },
    },
    ...frameDecoders(),
    ...shardDecoders(),
    ...peerDecoders(valid),
    ...storedDecoders(),
    ...bucketDecoders(),
  ]
}
