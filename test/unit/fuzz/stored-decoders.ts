/**
 * Decoders of what lies on this peer's disk, or is sealed by whoever stored it. Those with checksums are fuzzed twice: as they are,
 * and behind checksums made right again, since a change rarely gets past those.
 */
import type { ChainId } from '../../../src/core/ids.ts'
import { accountIdOf } from '../../../src/core/ids.ts'
import { SEGMENT_BYTES } from '../../../src/core/limits.ts'
import { cborCid, rawCid, sha256 } from '../../../src/crypto/hash.ts'
import { ExtentMap, decodeExtentMap, encodeExtentMap } from '../../../src/shards/extent-map.ts'
import { decodeListing, encodeListing } from '../../../src/shards/listing.ts'
import { decodeManifest, encodeManifest } from '../../../src/shards/manifest.ts'
import { buildFileTree, directoryNode, parseNode, type TreeNode } from '../../../src/shards/unixfs-tree.ts'
import { crc32c } from '../../../src/store/crc32c.ts'
import { decodePackIndex, encodePackIndex } from '../../../src/store/pack-index-file.ts'
import { RECORD_HEADER_BYTES, readRecordHeader, writeRecordHeader } from '../../../src/store/pack-record.ts'
import { decodeUpload, encodeUploadHeader, encodeUploadRecord } from '../../../src/store/upload-records.ts'
import {
  decodeVoteLog,
  encodeVoteLogEnd,
  encodeVoteLogFrame,
  encodeVoteLogHeader,
  type VoteLogRecord,
} from '../../../src/store/vote-log-frames.ts'
import type { FuzzedDecoder } from './decoders.ts'

const salt = new Uint8Array(8).fill(3)
const digest = new Uint8Array(32).fill(4)
const owner = {
  chain: 'bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi' as ChainId,
  publicKey: new Uint8Array(32).fill(7),
}
const joined = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))

/** With the last four bytes made the CRC of all before. */
function resealed(bytes: Uint8Array): Uint8Array {
  if (bytes.length < 4) return bytes
  const sealed = bytes.slice()
  new DataView(sealed.buffer).setUint32(sealed.length - 4, crc32c(sealed.subarray(0, -4)))
  return sealed
}

function packIndex(bytes: Uint8Array): 'accepted' | 'refused' {
  const index = decodePackIndex(bytes, salt, 2 ** 28)
  if (index === undefined) return 'refused'
  for (const { offset, length } of index.entries()) {
    if (offset + length > index.coveredBytes) throw new Error('an entry that is not covered')
  }
  return 'accepted'
}

const logHeader = encodeVoteLogHeader(owner, salt)

function voteLog(bytes: Uint8Array): 'accepted' {
  const { goodBytes, records } = decodeVoteLog(bytes, owner, '/fuzz/votes.log')
  if (goodBytes > bytes.length) throw new Error('more is good than there is')
  if (records.reduce((sum, { payload }) => sum + payload.length, 0) > bytes.length) throw new Error('invented bytes')
  return 'accepted'
}

/** These bytes as the body of a frame whose head and checksum are right. */
function voteLogBehindChecksums(body: Uint8Array): 'accepted' {
  if (body.length < 5) return 'accepted'
  const like: VoteLogRecord = { type: 0, payload: new Uint8Array(body.length - 5) }
  const [head = new Uint8Array(0)] = encodeVoteLogFrame([like], salt, logHeader.length)
  return voteLog(joined(logHeader, resealed(joined(head, body, new Uint8Array(4)))).slice())
}

function voteLogSamples(): { whole: Uint8Array; body: Uint8Array } {
  const records = [
    { type: 1, payload: new Uint8Array(100).fill(1) },
    { type: 2, payload: new Uint8Array(0) },
  ]
  const first = joined(...encodeVoteLogFrame(records, salt, logHeader.length))
  const second = joined(...encodeVoteLogFrame(records, salt, logHeader.length + first.length))
  const end = encodeVoteLogEnd(salt, logHeader.length + first.length + second.length)
  return { whole: joined(logHeader, first, second, end), body: first.subarray(12, -4) }
}

function upload(bytes: Uint8Array): 'accepted' | 'refused' {
  const content = decodeUpload(bytes)
  if (content === undefined) return 'refused'
  if (content.goodBytes > bytes.length) throw new Error('more is good than there is')
  return 'accepted'
}

function uploadSample(): Uint8Array {
  const header = encodeUploadHeader(1_000, new Uint8Array(20).fill(1))
  const record = encodeUploadRecord(2_000, [digest, digest], header.crc)
  return joined(header.bytes, record.bytes)
}

function recordHeader(bytes: Uint8Array): 'accepted' | 'refused' {
  return readRecordHeader(bytes, salt, 64) === undefined ? 'refused' : 'accepted'
}

function treeNode(bytes: Uint8Array): 'accepted' {
  const node = parseNode(DAG_PB_CID, bytes)
  if (node.kind !== 'file') return 'accepted'
  const said = node.children.reduce((sum, { fileBytes }) => sum + fileBytes, 0)
  if (said !== node.fileBytes) throw new Error('the sizes of the children are not that of the file')
  return 'accepted'
}

/** The node above two leaves. */
function fileNode(): TreeNode {
  const [node] = buildFileTree([sha256(digest), digest], SEGMENT_BYTES + 5).nodes
  if (node === undefined) throw new Error('two leaves have a node above')
  return node
}

const node = fileNode()
const DAG_PB_CID = node.cid
const folder = directoryNode([{ name: 'a', cid: DAG_PB_CID, totalBytes: 10 }])

export function storedDecoders(): readonly FuzzedDecoder[] {
  const header = new Uint8Array(RECORD_HEADER_BYTES)
  writeRecordHeader(header, { state: 'live', length: 100, digest }, salt, 64)
  const index = encodePackIndex(salt, 1_000, [{ offset: 16, length: 100, state: 'live', digest }])
  const log = voteLogSamples()
  const listing = encodeListing([
    { kind: 'file', path: 'a/b.txt', bytes: 5, mtimeMs: 1_000 },
    { kind: 'folder', path: 'c', bytes: 0, mtimeMs: 0 },
  ])
  const manifest = encodeManifest({
    version: 1,
    kind: 'file',
    content: rawCid(digest),
    listing: rawCid(digest),
    bytes: 57,
    files: 1,
    cipher: 'aes-256-gcm',
    segmentBytes: SEGMENT_BYTES,
    profile: 'unixfs-v1-2025',
    keys: [{ account: accountIdOf(digest), key: { wrap: 'x25519', enc: digest, sealed: new Uint8Array(48) } }],
  })
  const map = encodeExtentMap(
    ExtentMap.of({
      version: 1,
      manifest: cborCid(digest),
      index: 0,
      code: { data: 2, parity: 2 },
      sizes: new Uint8Array(12),
      digests: new Uint8Array(8 * 32),
      audits: new Uint8Array(8 * 32),
      copies: [{ cid: rawCid(digest), bytes: 32 }],
    }),
  )
  return [
    { name: 'decodeVoteLog', samples: [log.whole, logHeader], run: voteLog },
    { name: 'decodeVoteLog, behind checksums', samples: [log.body], run: voteLogBehindChecksums },
    { name: 'decodeUpload', samples: [uploadSample()], run: upload },
    { name: 'decodePackIndex', samples: [index], run: packIndex },
    { name: 'decodePackIndex, behind checksums', samples: [index], run: (bytes) => packIndex(resealed(bytes)) },
    { name: 'readRecordHeader', samples: [header], run: recordHeader },
    { name: 'decodeManifest', samples: [manifest.bytes], run: (bytes) => encodeManifest(decodeManifest(bytes)).bytes },
    { name: 'decodeExtentMap', samples: [map.bytes], run: (bytes) => encodeExtentMap(decodeExtentMap(bytes)).bytes },
    {
      name: 'decodeListing',
      samples: [listing],
      run: (bytes) => {
        decodeListing(bytes)
        // Where its pages are cut is the sealer's business: nothing is hashed over an opened listing.
        return 'accepted'
      },
    },
    { name: 'parseNode', samples: [node.bytes, folder.bytes], run: treeNode },
  ]
}
