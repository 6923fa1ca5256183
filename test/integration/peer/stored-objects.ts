/** Objects on a network of the tests: stored, placed, looked for on every disk, and read back. */
import { createHash, randomFillSync } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { CID } from 'multiformats/cid'
import { expect, vi } from 'vitest'
import type { CliAccount } from '../../../src/cli/account.ts'
import { type PutResult, put } from '../../../src/cli/put.ts'
import type { DraftTx } from '../../../src/ledger/transaction.ts'
import { sha256 } from '../../../src/crypto/hash.ts'
import { type Extent, getExtent, getStoragePeer, getStoredObject, isWhole } from '../../../src/domain/storage-state.ts'
import { InstitutionAccount } from '../../../src/peer/institution-account.ts'
import { checkExtentMap, decodeExtentMap } from '../../../src/shards/extent-map.ts'
import type { TestNetwork, TestPeer } from './network.ts'

export const WAIT = { timeout: 240_000, interval: 200 }

export async function putRandom(
  network: TestNetwork,
  at: TestPeer,
  account: CliAccount,
  bytes: number,
): Promise<PutResult> {
  const file = join(network.folder, 'input.bin')
  await writeFile(file, randomFillSync(new Uint8Array(bytes)))
  const stored = await put(at.client, account, file, {
    home: at.home,
    profile: 'aes-256-gcm',
    restart: true,
    critical: false,
    signal: AbortSignal.timeout(WAIT.timeout),
    onStart: () => undefined,
    onSent: () => undefined,
  })
  await vi.waitFor(async () => {
    const object = await getStoredObject(at.peer.chain.reader, stored.manifest)
    expect(object !== undefined && isWhole(object)).toBe(true)
  }, WAIT)
  return stored
}

export async function extentsOf(at: TestPeer, manifest: CID): Promise<Extent[]> {
  const { reader } = at.peer.chain
  const object = await getStoredObject(reader, manifest)
  const extents: Extent[] = []
  for (let index = 0; index < (object?.extents ?? 0); index++) {
    const extent = await getExtent(reader, manifest, index)
    if (extent !== undefined) extents.push(extent)
  }
  return extents
}

/** The peer that the ledger names. */
export async function peerOf(network: TestNetwork, at: TestPeer, number: number | undefined): Promise<TestPeer> {
  const entry = number === undefined ? undefined : await getStoragePeer(at.peer.chain.reader, number)
  const found = network.peers.find(({ peer }) => peer.identity.peerId === entry?.peer)
  if (found === undefined) throw new Error('a column has no holder')
  return found
}

/**
 * Every column of every extent has a holder, which has every block of it, with the right bytes.
 *
 * @param without - peers that may hold nothing.
 * @returns blocks that were read.
 */
export async function expectWhole(
  network: TestNetwork,
  at: TestPeer,
  manifest: CID,
  without: readonly TestPeer[] = [],
): Promise<number> {
  let blocks = 0
  for (const extent of await extentsOf(at, manifest)) {
    for (const [column, number] of extent.holders.entries()) {
      const holder = await peerOf(network, at, number)
      expect(without).not.toContain(holder)
      const { store } = holder.peer
      const mapBytes = await store.read(extent.map.multihash.digest)
      if (mapBytes === undefined) throw new Error(`the holder of column ${column} has no map`)
      const map = decodeExtentMap(mapBytes)
      checkExtentMap(map, extent)
      const digests = [
        ...map.shardsOfColumn(column).map(({ digest }) => digest),
        ...map.fields.copies.map(({ cid }) => cid.multihash.digest),
      ]
      for (const digest of digests) {
        expect(sha256((await store.read(digest)) ?? new Uint8Array(0))).toEqual(digest)
        blocks++
      }
    }
  }
  return blocks
}

/** SHA-256 of the ciphertext, as a peer hands it out. */
export async function readBack(at: TestPeer, content: CID): Promise<string> {
  const stream = await at.client.stream(`/api/v1/content/${content.toString()}`, {
    signal: AbortSignal.timeout(120_000),
  })
  const hash = createHash('sha256')
  for await (const piece of stream as AsyncIterable<Uint8Array>) hash.update(piece)
  return hash.digest('hex')
}

/** In the name of a peer's institution; its receipt must be without a fault. */
export async function submitAs({ config, peer }: TestPeer, draft: DraftTx): Promise<void> {
  const account = new InstitutionAccount({
    chain: peer.chain,
    node: peer.ledger,
    account: peer.identity.account,
    institution: config.institution,
    clock: { nowMs: () => Date.now() },
  })
  const { receipt } = await account.submit(draft, AbortSignal.timeout(WAIT.timeout))
  expect(receipt).toMatchObject({ ok: true })
}
