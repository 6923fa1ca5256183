import { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import { encodeCanonical } from '../../../src/core/codec.ts'
import type { ChainId } from '../../../src/core/ids.ts'
import { verifyMessage } from '../../../src/crypto/signatures.ts'
import { verifyReceipt } from '../../../src/domain/shard-receipt.ts'
import { extentGroup } from '../../../src/domain/storage-table.ts'
import { type PeerIdText, peerIdKey } from '../../../src/ledger/fields.ts'
import { bytesOfHex, loadVectors } from '../../vectors/load.ts'
import { storageVectors } from '../../vectors/make-storage.ts'

interface Vectors {
  readonly chain: ChainId
  readonly groups: readonly { readonly manifest: string; readonly index: number; readonly group: number }[]
  readonly receipt: {
    readonly peer: PeerIdText
    readonly extent: { readonly manifest: string; readonly map: string; readonly root: string } & Readonly<
      Record<'index' | 'data' | 'parity' | 'segments' | 'copies', number>
    > & { readonly columns: readonly number[] }
    readonly column: number
    readonly expiresMs: number
    readonly signature: string
  }
  readonly erasure: Readonly<Record<'manifest' | 'signature', string>> &
    Readonly<Record<'column' | 'index', number>> & { readonly peer: PeerIdText }
}
const vectors = loadVectors<Vectors>('storage')

test('transactions of all types, what they leave, and what peers sign are what was pinned, byte for byte', async () => {
  expect(await storageVectors()).toEqual(vectors)
})

test('extents lie in the pinned groups', () => {
  for (const { group, index, manifest } of vectors.groups) expect(extentGroup(CID.parse(manifest), index)).toBe(group)
})

test('the pinned receipt and the pinned deletion verify', () => {
  const { column, expiresMs, extent, peer, signature } = vectors.receipt
  const facts = {
    ...extent,
    manifest: CID.parse(extent.manifest),
    map: CID.parse(extent.map),
    root: bytesOfHex(extent.root),
  }
  const promise = { extent: facts, column, expiresMs }
  expect(verifyReceipt(peer, vectors.chain, promise, bytesOfHex(signature))).toBe(true)
  const { erasure } = vectors
  const message = encodeCanonical({
    manifest: CID.parse(erasure.manifest),
    index: erasure.index,
    column: erasure.column,
  })
  const key = peerIdKey(erasure.peer)
  expect(verifyMessage(key, bytesOfHex(erasure.signature), 'erasure', vectors.chain, message)).toBe(true)
})
