import type { PeerId } from '@libp2p/interface'
import { expect, test } from 'vitest'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import { cborCid, sha256 } from '../../../src/crypto/hash.ts'
import { FetchError } from '../../../src/p2p/block-fetch.ts'
import type { BlockFetcher } from '../../../src/p2p/block-fetcher.ts'
import { parsePeerId, peerIdOfSeed } from '../../../src/p2p/peer-ids.ts'
import { CopyReader } from '../../../src/peer/copy-reader.ts'
import type { PeerHistory } from '../../../src/peer/peer-history.ts'
import { seedOf } from '../ledger/network.ts'

const bytes = new TextEncoder().encode('a map')
const cid = cborCid(bytes)
const signal = new AbortController().signal
const peerOf = async (name: string): Promise<PeerId> => parsePeerId(await peerIdOfSeed(seedOf(name)))
const [self, first, second, uploader] = await Promise.all(['self', 'first', 'second', 'uploader'].map(peerOf))

/** Who has the block; whom it was asked of, in order. */
function readerWith(having: readonly (PeerId | undefined)[]): {
  reader: CopyReader
  asked: string[]
  searches: number[]
} {
  const asked: string[] = []
  const searches: number[] = []
  const has = having.map(String)
  const fetcher: Pick<BlockFetcher, 'fetch' | 'findProviders'> = {
    async *fetch(digests, providers) {
      for (const peer of providers.map(String)) {
        asked.push(peer)
        if (!has.includes(peer)) continue
        yield { digest: sha256(bytes), parts: [bytes], bytes: bytes.length, release: () => undefined }
        return
      }
      throw new FetchError({ code: 'BLOCK_UNAVAILABLE', cid: `${digests.length}`, asked, altered: 'none' })
    },
    findProviders: async () => {
      searches.push(asked.length)
      return having.filter((peer) => peer !== undefined)
    },
  }
  const history = {
    isConnected: () => true,
    isLate: () => false,
    medianMs: () => 1,
    failed: () => undefined,
    awaySinceMs: () => 0,
  } as unknown as PeerHistory
  const store = { read: async () => undefined }
  return { reader: new CopyReader({ store, fetcher, history, self: String(self) }), asked, searches }
}

const place = {
  extent: 0,
  holders: [first, second].map((peer, at) => ({
    peer: peer as PeerId,
    institution: parseInstitutionId(`h${at}`),
  })),
}

test('what a holder has is asked of nobody else', async () => {
  const { asked, reader, searches } = readerWith([second, uploader])
  expect(await reader.read(cid, place, signal)).toEqual(bytes)
  expect([asked, searches]).toEqual([[String(first), String(second)], []])
})

test('what no holder has is asked of all other members, and then of whoever has it', async () => {
  const { asked, reader } = readerWith([uploader])
  expect(await reader.read(cid, place, signal)).toEqual(bytes)
  expect(asked).toEqual([first, second, uploader].map(String))
})

test('what nobody has: the fault says whose it was, once all were asked', async () => {
  const { reader, searches } = readerWith([])
  await expect(reader.read(cid, place, signal)).rejects.toMatchObject({
    fault: { code: 'EXTENT_UNAVAILABLE', institutions: ['h0', 'h1'] },
  })
  expect(searches).toEqual([2])
})
