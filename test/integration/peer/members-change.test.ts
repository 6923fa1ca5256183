/**
 * Members come and go on a running network: real TCP, real disks, the production daemon in this process, the CLI as its own process.
 * The tests are steps of one story, in this order.
 */
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { LayoutAnswer } from '../../../src/gateway/network-routes.ts'
import type { PeerStatus } from '../../../src/peer/peer.ts'
import { ADMIN_KEY_FILE, IDENTITY_FILE } from '../../../src/peer/identity.ts'
import { TestNetwork, newAccount } from './network.ts'

const CLI = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url))
const TOKEN = 'test-token-of-thirty-two-characters!'
const WAIT = { timeout: 90_000, interval: 100 }
let network: TestNetwork
let folder: string

beforeAll(async () => {
  network = await TestNetwork.start({ peers: 5, founders: 4, started: 4, validators: 4 })
  folder = join(network.folder, 'cli')
  await mkdir(folder)
  await writeFile(join(folder, 'api.json'), JSON.stringify({ url: network.peer(0).gateway.url, token: TOKEN }))
}, 60_000)
afterAll(async () => network[Symbol.asyncDispose]())

/** Runs the CLI against peer 0; the passphrase is the same for all keys here. @returns its answer */
async function cli(...args: readonly string[]): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const options = { env: { ...process.env, APOTHECA_PEER: folder, NO_COLOR: '1' } }
    const passphrase = ['--json', '--passphrase-file', join(network.folder, 'h0', 'passphrase')]
    execFile(process.execPath, [CLI, ...passphrase, ...args], options, (error, out, err) => {
      if (error === null) resolve(JSON.parse(out) as Record<string, unknown>)
      else reject(new Error(err))
    })
  })
}

const withAdminKey = (index: number): string[] => ['--admin-key', join(network.folder, `h${index}`, ADMIN_KEY_FILE)]
const statusOf = async (index: number): Promise<PeerStatus> => network.peer(index).client.get('/api/v1/status')
const isLinked = (index: number, to: number): boolean =>
  network
    .peer(index)
    .peer.host.getPeers()
    .some((peer) => peer.toString() === network.peer(to).peer.identity.peerId)

/** Institutions whose peers offer room. */
async function storing(): Promise<string[]> {
  const { peers } = await network.peer(0).client.get<LayoutAnswer>('/api/v1/network/layout')
  return peers.map(({ institution }) => institution)
}

/** Proposed by the first, approved by the others. */
async function decide([first = 0, ...others]: readonly number[], ...change: readonly string[]): Promise<void> {
  const { id } = await cli('network', 'propose', ...change, ...withAdminKey(first))
  for (const by of others) await cli('validators', 'approve', String(id), ...withAdminKey(by))
}

test('who is not a member yet waits: it starts, says so, and is refused', async () => {
  await network.startPeer(4)
  expect(await statusOf(4)).toMatchObject({ admitted: false, height: 0 })
  await vi.waitFor(async () => expect((await statusOf(4)).dials.some(({ failures }) => failures > 0)).toBe(true), WAIT)
  expect(isLinked(0, 4)).toBe(false)
}, 120_000)

test('an institution is admitted while the network runs: its peer comes in, catches up, and serves', async () => {
  const identity = join(network.folder, 'h4', IDENTITY_FILE)
  await decide([0, 1, 2], '--admit', identity, '--name', 'Clinic', '--role', 'hospital')
  await vi.waitFor(async () => expect(await statusOf(4)).toMatchObject({ admitted: true }), WAIT)
  await newAccount(network.peer(4), 'nurse')
  expect((await statusOf(0)).members.find(({ institution }) => institution === 'h4')).toMatchObject({ connected: true })
  const { members } = await cli('network', 'members')
  expect(members).toMatchObject([{ id: 'h0' }, { id: 'h1' }, { id: 'h2' }, { id: 'h3' }, { id: 'h4', name: 'Clinic' }])
  await vi.waitFor(async () => expect(await storing()).toContain('h4'), WAIT)
}, 240_000)

test('an institution is removed: its peer is disconnected at once, refused, and stores no more; the others go on', async () => {
  await decide([0, 1, 2, 3], '--remove', 'h4')
  await vi.waitFor(
    () => expect([0, 1, 2, 3].map((index) => isLinked(index, 4))).toEqual([false, false, false, false]),
    WAIT,
  )
  const before = (await statusOf(4)).dials.map(({ failures }) => failures)
  await vi.waitFor(
    async () => expect((await statusOf(4)).dials.map(({ failures }) => failures)).not.toEqual(before),
    WAIT,
  )
  expect(isLinked(0, 4)).toBe(false)
  await newAccount(network.peer(1), 'doctor')
  expect((await statusOf(0)).members.map(({ institution }) => institution)).toEqual(['h1', 'h2', 'h3'])
  await vi.waitFor(async () => expect(await storing()).not.toContain('h4'), WAIT)
}, 240_000)
