import { multiaddr } from '@multiformats/multiaddr'
import { expect, test, vi } from 'vitest'
import { dropStrangers } from '../../../src/p2p/member-gate.ts'
import { startProvider } from './provider-child.ts'
import { faultOf, membersOf, startPeer, withoutPeerId } from './test-peer.ts'

test("two members connect over TLS, without knowing each other's peer id", async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startPeer('alice', members)
  await using bob = await startPeer('bob', members)
  const connection = await alice.host.dial(multiaddr(withoutPeerId(bob.address)))
  expect(connection.remotePeer.toString()).toBe(bob.id)
  expect(connection.encryption).toBe('/tls/1.0.0')
  await vi.waitFor(() => expect(bob.host.getPeers().map(String)).toEqual([alice.id]))
})

test('a member that speaks only Noise connects, too', async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startPeer('alice', members, { encrypters: ['noise'] })
  await using bob = await startPeer('bob', members)
  const connection = await alice.host.dial(multiaddr(bob.address))
  expect(connection.encryption).toBe('/noise')
})

test('a stranger that dials a member is cut off during the connection, and logged once however often it knocks', async () => {
  const all = await membersOf('alice', 'mallory')
  await using alice = await startPeer('alice', await membersOf('alice'))
  await using mallory = await startPeer('mallory', all)
  for (let knock = 0; knock < 5; knock++) {
    // TLS ends for the dialer before the other side has judged: it may see a connection, but never a stream on it.
    const stream = mallory.host.dialProtocol(multiaddr(alice.address), '/ipfs/id/1.0.0')
    await expect(stream).rejects.toBeInstanceOf(Error)
  }
  expect(alice.host.getConnections()).toEqual([])
  const lines = alice.log.lines.filter((line) => line.message === 'refused a peer that is not a member')
  expect(lines).toHaveLength(1)
  expect(lines[0]?.fields).toMatchObject({ peer: mallory.id })
  await vi.waitFor(() => expect(mallory.host.getConnections()).toEqual([]))
})

test('a member that dials a stranger gets P2P_NOT_A_MEMBER with its peer id and address', async () => {
  await using alice = await startPeer('alice', await membersOf('alice'))
  await using mallory = await startPeer('mallory', await membersOf('alice', 'mallory'))
  const address = withoutPeerId(mallory.address)
  const fault = await faultOf(alice.host.dial(multiaddr(address)))
  expect(fault).toEqual({ code: 'P2P_NOT_A_MEMBER', peer: mallory.id, address })
  expect(alice.host.getConnections()).toEqual([])
  expect(await faultOf(alice.host.dial(multiaddr(mallory.address)))).toMatchObject({ code: 'P2P_NOT_A_MEMBER' })
})

test('members are a live set: who joins can connect, and who leaves is dropped', async () => {
  const members = await membersOf('alice')
  const bobMembers = await membersOf('alice', 'bob')
  await using alice = await startPeer('alice', members)
  await using bob = await startPeer('bob', bobMembers)
  expect(await faultOf(alice.host.dial(multiaddr(bob.address)))).toMatchObject({ code: 'P2P_NOT_A_MEMBER' })
  members.add(bob.id)
  await alice.host.dial(multiaddr(bob.address))
  expect(dropStrangers(alice.host, () => members)).toEqual([])
  members.delete(bob.id)
  expect(dropStrangers(alice.host, () => members)).toEqual([bob.id])
  await vi.waitFor(() => expect(bob.host.getConnections()).toEqual([]))
  expect(alice.host.getConnections()).toEqual([])
})

test('a port in use is P2P_LISTEN_FAILED with the address', async () => {
  const members = await membersOf('alice')
  await using alice = await startPeer('alice', members)
  const listen = withoutPeerId(alice.address)
  const fault = await faultOf(startPeer('bob', members, { listen: ['/ip4/127.0.0.1/tcp/0', listen] }))
  expect(fault).toEqual({ code: 'P2P_LISTEN_FAILED', address: listen, reason: 'EADDRINUSE' })
})

test('an address that is none is P2P_ADDRESS_MALFORMED', async () => {
  const fault = await faultOf(startPeer('bob', new Set(), { listen: ['127.0.0.1:4001'] }))
  expect(fault).toEqual({ code: 'P2P_ADDRESS_MALFORMED', address: '127.0.0.1:4001' })
})

test('a member process that hangs is noticed and dropped', { timeout: 20_000 }, async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startPeer('alice', members)
  await using bob = await startProvider({ word: 'bob', members: [...members], blocks: 1, blockBytes: 1_024 })
  await alice.host.dial(multiaddr(bob.address))
  bob.process.kill('SIGSTOP')
  await vi.waitFor(() => expect(alice.host.getConnections()).toEqual([]), { timeout: 15_000, interval: 100 })
})
