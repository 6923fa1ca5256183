import { expect, test, vi } from 'vitest'
import { MemberDialer } from '../../../src/p2p/member-dialer.ts'
import { faultOf, membersOf, startPeer, withoutPeerId } from './test-peer.ts'

test('a lost member is dialed again until it is back', { timeout: 15_000 }, async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startPeer('alice', members)
  const first = await startPeer('bob', members)
  const address = withoutPeerId(first.address)
  const dialer = new MemberDialer(alice, { addresses: [address] })
  dialer.start()
  try {
    await vi.waitFor(() => expect(dialer.status()).toMatchObject([{ state: 'connected', peer: first.id }]))
    await first.host.stop()
    await vi.waitFor(() => expect(dialer.status()[0]?.failures).toBeGreaterThan(0), { timeout: 5_000 })
    await using second = await startPeer('bob', members, { listen: [address] })
    await vi.waitFor(() => expect(alice.host.getPeers().map(String)).toEqual([second.id]), { timeout: 8_000 })
  } finally {
    await dialer.stop()
  }
})

test('an address that turns out to be its own is left alone', async () => {
  const members = await membersOf('alice')
  await using alice = await startPeer('alice', members)
  const dialer = new MemberDialer(alice, { addresses: [withoutPeerId(alice.address)] })
  dialer.start()
  await vi.waitFor(() => expect(dialer.status()).toMatchObject([{ state: 'self' }]))
  await dialer.stop()
  expect(alice.host.getConnections()).toEqual([])
})

test('a stranger at a configured address shows as the fault, and is let in once it is a member', async () => {
  const members = await membersOf('alice')
  await using alice = await startPeer('alice', members)
  await using bob = await startPeer('bob', await membersOf('alice', 'bob'))
  const dialer = new MemberDialer(alice, { addresses: [bob.address] })
  dialer.start()
  try {
    await vi.waitFor(() => expect(dialer.status()).toMatchObject([{ lastFailure: 'P2P_NOT_A_MEMBER' }]))
    members.add(bob.id)
    dialer.hurry()
    await vi.waitFor(() => expect(dialer.status()).toMatchObject([{ state: 'connected' }]), { timeout: 5_000 })
  } finally {
    await dialer.stop()
  }
})

test('a malformed address is refused when the dialer is made', async () => {
  await using alice = await startPeer('alice', await membersOf('alice'))
  const make = async (): Promise<unknown> => new MemberDialer(alice, { addresses: ['localhost:4001'] })
  expect(await faultOf(make())).toEqual({ code: 'P2P_ADDRESS_MALFORMED', address: 'localhost:4001' })
})
