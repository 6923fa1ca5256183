import { expect, test } from 'vitest'
import { GossipIds } from '../../../src/p2p/gossip-ids.ts'

const bytes = new TextEncoder().encode('message')

test("without a rule of its own, a topic's ids are hashes that differ by topic and by bytes", async () => {
  const ids = new GossipIds()
  const hex = async (topic: string, message: Uint8Array): Promise<string> =>
    Buffer.from(await ids.idOf(topic, message)).toString('hex')
  const all = await Promise.all([hex('a', bytes), hex('b', bytes), hex('a', new Uint8Array())])
  expect(new Set(all).size).toBe(3)
  expect(await hex('a', bytes)).toBe(all[0])
})

test("a topic's own rule holds until it is taken back", async () => {
  const ids = new GossipIds()
  ids.set('a', () => Uint8Array.of(1))
  expect(await ids.idOf('a', bytes)).toEqual(Uint8Array.of(1))
  expect(await ids.idOf('b', bytes)).not.toEqual(Uint8Array.of(1))
  ids.delete('a')
  expect(await ids.idOf('a', bytes)).not.toEqual(Uint8Array.of(1))
})
