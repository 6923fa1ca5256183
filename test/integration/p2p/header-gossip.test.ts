import { multiaddr } from '@multiformats/multiaddr'
import { expect, test, vi } from 'vitest'
import { FINAL_HEADER_BYTES_MAX } from '../../../src/core/limits.ts'
import { HeaderGossip, type HeaderVerdict } from '../../../src/p2p/header-gossip.ts'
import { headersTopic } from '../../../src/p2p/protocols.ts'
import { faultOf, membersOf, startPeer, type TestPeer } from './test-peer.ts'

// A stand-in for header and certificate: "block:<id>:<certificate>"; the certificate is good when it starts with "good".
const encode = (text: string): Uint8Array => new TextEncoder().encode(text)
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)
const idOf = (bytes: Uint8Array): Uint8Array => encode(decode(bytes).split(':')[1] ?? '')

function verdictOf(bytes: Uint8Array): HeaderVerdict {
  const [kind, , certificate] = decode(bytes).split(':')
  if (kind === 'crash') throw new Error('a bug in the validator')
  if (kind === 'ahead') return 'ignore'
  return kind === 'block' && certificate?.startsWith('good') === true ? 'accept' : 'reject'
}

interface Listener {
  readonly gossip: HeaderGossip
  /** What was asked of the validator, and what it took. */
  readonly judged: string[]
  readonly taken: string[]
}

function listen({ host, log }: TestPeer, chain = 'chain'): Listener {
  const judged: string[] = []
  const taken: string[] = []
  const admit = (bytes: Uint8Array): HeaderVerdict => {
    judged.push(decode(bytes))
    const verdict = verdictOf(bytes)
    if (verdict === 'accept') taken.push(decode(bytes))
    return verdict
  }
  const { pubsub, gossipIds } = host.services
  const gossip = new HeaderGossip({ pubsub, gossipIds, admit, idOf, log }, { chain })
  gossip.start()
  return { gossip, judged, taken }
}

async function connect(from: TestPeer, to: TestPeer): Promise<void> {
  await from.host.dial(multiaddr(to.address))
}

test('a header passes from peer to peer along a line, and an invalid one stops at the first', async () => {
  const members = await membersOf('alice', 'bob', 'carol')
  await using alice = await startPeer('alice', members)
  await using bob = await startPeer('bob', members)
  await using carol = await startPeer('carol', members)
  const [a, b, c] = [listen(alice), listen(bob), listen(carol)]
  await connect(alice, bob)
  await connect(bob, carol)
  await vi.waitFor(() => expect([a, b, c].map(({ gossip }) => gossip.listeners())).toEqual([1, 2, 1]), 5_000)
  // Publishing doesn't judge: what alice sends is hers to answer for.
  await a.gossip.publish(encode('block:1:bad'))
  await a.gossip.publish(encode('ahead:2:good'))
  await a.gossip.publish(encode('crash:3:good'))
  await vi.waitFor(() => expect(b.judged).toHaveLength(3))
  await a.gossip.publish(encode('block:4:good'))
  await vi.waitFor(() => expect(c.taken).toEqual(['block:4:good']), 5_000)
  expect(c.judged).toEqual(['block:4:good'])
  expect(b.taken).toEqual(['block:4:good'])
  expect(alice.host.getPeers().map(String)).toEqual([bob.id])
  expect(bob.log.lines.filter((line) => line.message === 'the header validator failed')).toHaveLength(1)
})

test('one block with other signatures is a duplicate, but a broken certificate does not use up the block id', async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startPeer('alice', members)
  await using bob = await startPeer('bob', members)
  const [a, b] = [listen(alice), listen(bob)]
  await connect(alice, bob)
  await vi.waitFor(() => expect(a.gossip.listeners()).toBe(1), 5_000)
  // What gossipsub delivers is what it relays.
  const relayed: string[] = []
  bob.host.services.pubsub.addEventListener('message', (event) => relayed.push(decode(event.detail.data)))
  // Sent past `publish`, under ids of their own: alice means no good.
  const topic = headersTopic('chain')
  alice.host.services.gossipIds.set(topic, (bytes) => bytes)
  const send = (text: string): Promise<unknown> => alice.host.services.pubsub.publish(topic, encode(text))
  await send('block:9:forged')
  await vi.waitFor(() => expect(b.judged).toEqual(['block:9:forged']))
  await send('block:9:good-1')
  await vi.waitFor(() => expect(relayed).toEqual(['block:9:good-1']))
  await send('block:9:good-2')
  await send('block:10:good')
  await vi.waitFor(() => expect(relayed).toEqual(['block:9:good-1', 'block:10:good']))
})

test('publishing with nobody connected reaches nobody, and is no fault', async () => {
  await using alice = await startPeer('alice', await membersOf('alice'))
  const { gossip } = listen(alice)
  expect(await gossip.publish(encode('block:1:good'))).toBe(0)
  expect(await gossip.publish(encode('block:1:good'))).toBe(0)
})

test('a header over the limit is not sent, and not judged when it comes', async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startPeer('alice', members)
  await using bob = await startPeer('bob', members)
  const [a, b] = [listen(alice), listen(bob)]
  await connect(alice, bob)
  await vi.waitFor(() => expect(a.gossip.listeners()).toBe(1), 5_000)
  const large = encode(`block:1:good${'.'.repeat(FINAL_HEADER_BYTES_MAX)}`)
  const fault = { code: 'GOSSIP_TOO_LARGE', bytes: large.length, bytesMax: FINAL_HEADER_BYTES_MAX }
  expect(await faultOf(a.gossip.publish(large))).toEqual(fault)
  await alice.host.services.pubsub.publish(headersTopic('chain'), large)
  await a.gossip.publish(encode('block:2:good'))
  await vi.waitFor(() => expect(b.taken).toEqual(['block:2:good']))
  expect(b.judged).toEqual(['block:2:good'])
})
