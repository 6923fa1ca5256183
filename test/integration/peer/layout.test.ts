/** Who stores how much, as operators see and change it: real daemons over TCP, the CLI as its own process. */
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { submitTx } from '../../../src/cli/submit.ts'
import { draftStorageOffer } from '../../../src/domain/storage-offers.ts'
import type { LayoutAnswer } from '../../../src/gateway/network-routes.ts'
import { peerIdText } from '../../../src/ledger/fields.ts'
import { GIB, TestNetwork } from './network.ts'

const CLI = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url))
const TOKEN = 'test-token-of-thirty-two-characters!'
/** Offers are the test's, so that all of them come together. */
const silent = { offer: false }
let network: TestNetwork

beforeAll(async () => {
  network = await TestNetwork.start({ peers: 3, store: { 0: silent, 1: silent, 2: silent } })
  for (const [index, { gateway }] of network.peers.entries()) {
    await mkdir(folderOf(index))
    await writeFile(join(folderOf(index), 'api.json'), JSON.stringify({ url: gateway.url, token: TOKEN }))
  }
}, 60_000)
afterAll(async () => network[Symbol.asyncDispose]())

const folderOf = (index: number): string => join(network.folder, `cli-${index}`)

/** Runs the CLI against a peer. */
async function cli(index: number, ...args: readonly string[]): Promise<{ status: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const options = { env: { ...process.env, APOTHECA_PEER: folderOf(index), NO_COLOR: '1' } }
    execFile(process.execPath, [CLI, ...args], options, (error, out, err) => {
      resolve({ status: typeof error?.code === 'number' ? error.code : 0, out, err })
    })
  })
}

/** In the name of its institution. */
async function offer(index: number): Promise<void> {
  const { client, peer } = network.peer(index)
  const { id, signer } = peer.identity.account
  const draft = draftStorageOffer({
    peer: peerIdText(peer.identity.peerId, 'peer'),
    bytes: GIB,
    zone: `z${index}`,
  })
  await submitTx(client, { id, openSigner: async () => signer }, draft, { signal: AbortSignal.timeout(60_000) })
}

test('members are shown with who is connected and who stores, before anything is offered', async () => {
  const { err, out, status } = await cli(0, 'network', 'members')
  expect([status, err]).toEqual([0, ''])
  expect(out).toContain('3 institutions at height')
  expect(out).toMatch(/h0 +h0 +hospital +yes +12D3KooW\w+ +this one +no/)
  expect(out).toMatch(/h1 +h1 +hospital +no +12D3KooW\w+ +connected +no/)
  expect((await cli(0, 'network', 'layout')).out).toContain('none yet')
}, 60_000)

test('the table in force is shown, what a change would move, and who leaves is drained at once, until it changes its mind', async () => {
  await Promise.all([0, 1, 2].map(offer))
  await vi.waitFor(
    async () => {
      const { inForce } = await network.peer(0).client.get<LayoutAnswer>('/api/v1/network/layout')
      expect(inForce?.peers).toHaveLength(3)
    },
    { timeout: 150_000, interval: 200 },
  )
  const shown = await cli(0, 'network', 'layout')
  expect([shown.status, shown.err]).toEqual([0, ''])
  expect(shown.out).toContain('1+2: any 2 of 3 institutions may fail')
  expect(shown.out).toMatch(/h1 +12D3KooW\w+ +z1 +1\.0 GiB +33\.3 % +0 B in 0 columns +0\.0 % +active/)
  const planned = await cli(0, 'network', 'layout', '--with', 'clinic=2GiB@z1')
  expect([planned.status, planned.err]).toEqual([0, ''])
  expect(planned.out).toContain('1+2 becomes 2+2')
  const unknown = await cli(0, 'network', 'layout', '--without', 'nobody')
  expect([unknown.status, unknown.err]).toEqual([3, expect.stringContaining('LAYOUT_OFFERS_NO_ROOM')])

  const left = await cli(1, 'network', 'leave', '--wait')
  expect([left.status, left.err]).toEqual([0, ''])
  expect(left.out).toContain('1 peer drained')
  expect(left.out).toContain('nothing of the network depends on its peers any more')
  expect((await cli(1, 'network', 'leave')).out).toContain('nothing had to be drained')
  // Nothing lies on it, so it takes itself off once the next table is in force.
  await vi.waitFor(async () => expect((await cli(0, 'network', 'layout')).out).not.toContain('h1 '), {
    timeout: 150_000,
    interval: 500,
  })

  const stayed = await cli(1, 'network', 'leave', '--cancel')
  expect([stayed.status, stayed.err]).toEqual([0, ''])
  expect(stayed.out).toContain('the room of 1 peer is offered again')
  expect((await cli(1, 'network', 'layout')).out).toMatch(/h1 +12D3KooW\w+ +z1 +1\.0 GiB .* active/)
}, 240_000)
