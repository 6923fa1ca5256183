/** Peers that keep their blocks in a bucket behind a real S3 server: the main job, and what they say when it fails. */
import { randomBytes } from 'node:crypto'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { CliAccount } from '../../../src/cli/account.ts'
import { get } from '../../../src/cli/get.ts'
import { put } from '../../../src/cli/put.ts'
import { startPeer } from '../../../src/peer/compose.ts'
import type { PeerConfig } from '../../../src/peer/config.ts'
import { peerStatus } from '../../../src/peer/peer.ts'
import { BUCKET, CREDENTIALS, TestS3 } from '../../unit/store/s3-server.ts'
import { silent } from '../../unit/store/setup.ts'
import { newAccount, TestNetwork, type TestPeer } from './network.ts'

const MIB = 1024 * 1024
const signal = new AbortController().signal
let server: TestS3
let network: TestNetwork
let patient: CliAccount
let credentialsFile: string

beforeAll(async () => {
  server = await TestS3.start()
  credentialsFile = join(server.folder, 'credentials.json')
  await writeFile(credentialsFile, JSON.stringify(CREDENTIALS), { mode: 0o600 })
  const place = { endpoint: server.endpoint, bucket: BUCKET, region: 'us-east-1', credentialsFile }
  const store = { 0: { s3: { ...place, prefix: 'h0/' } }, 1: { s3: { ...place, prefix: 'h1/' } } }
  network = await TestNetwork.start({ peers: 2, store })
  patient = await newAccount(network.peer(0), 'patient')
}, 60_000)
afterAll(async () => {
  await network[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

async function stored(bytes: number): Promise<{ readonly content: Buffer; readonly target: string }> {
  const content = randomBytes(bytes)
  const path = join(network.folder, `input-${bytes}`)
  await writeFile(path, content)
  const options = { home: network.peer(0).home, profile: 'aes-256-gcm', restart: false, signal } as const
  const nothing = (): void => undefined
  const at = network.peer(0).client
  const { manifest } = await put(at, patient, path, { ...options, onStart: nothing, onSent: nothing })
  return { content, target: manifest.toString() }
}

async function fetched(at: TestPeer, target: string, name: string): Promise<Buffer> {
  const out = join(network.folder, name)
  const nothing = (): void => undefined
  await get(at.client, patient, target, { out, force: true, keep: false, signal, onStart: nothing, onOpened: nothing })
  return readFile(out)
}

const start = (config: PeerConfig) =>
  startPeer(config, { clock: { nowMs: () => Date.now() }, log: silent, onFailure: () => undefined })

test('what is put at a peer with a bucket is got from it, by another member, and after a restart', async () => {
  const { content, target } = await stored(5 * MIB + 123)
  expect(peerStatus(network.peer(0).peer).store.bytes).toBeGreaterThan(content.length)
  expect(server.requests.filter((line) => line.startsWith(`PUT /${BUCKET}/h0/blocks/`)).length).toBeGreaterThan(5)
  expect((await fetched(network.peer(0), target, 'own')).equals(content)).toBe(true)
  expect((await fetched(network.peer(1), target, 'other')).equals(content)).toBe(true)
  await network.peer(0).close()
  await network.startPeer(0)
  expect((await fetched(network.peer(0), target, 'again')).equals(content)).toBe(true)
}, 120_000)

test('while the object store is down a put and a get say so, and both work when it is back', async () => {
  const { content, target } = await stored(2 * MIB)
  await server.down()
  await expect(fetched(network.peer(0), target, 'down')).rejects.toMatchObject({
    fault: { code: 'STORE_S3_UNREACHABLE' },
  })
  await expect(stored(MIB)).rejects.toMatchObject({ fault: { code: 'STORE_S3_UNREACHABLE' } })
  await server.up()
  expect((await fetched(network.peer(0), target, 'up')).equals(content)).toBe(true)
  expect((await fetched(network.peer(0), (await stored(MIB)).target, 'more')).length).toBe(MIB)
}, 120_000)

test('a peer does not start without its bucket, with keys that others can read, or with its blocks left behind', async () => {
  const running = network.peer(0)
  const { config } = running
  await running.close()
  await chmod(credentialsFile, 0o640)
  await expect(start(config)).rejects.toMatchObject({
    fault: { code: 'STORE_S3_CREDENTIALS', file: credentialsFile, problem: 'others than its owner can read it' },
  })
  await chmod(credentialsFile, 0o600)
  const { s3, ...onDisk } = config.store
  await expect(start({ ...config, store: onDisk })).rejects.toMatchObject({ fault: { code: 'BLOCKS_ELSEWHERE' } })
  if (s3 === undefined) throw new Error('no bucket')
  const others = { ...config, store: { ...onDisk, s3: { ...s3, prefix: 'h1/' } } }
  await expect(start(others)).rejects.toMatchObject({ fault: { code: 'STORE_S3_IN_USE', prefix: 'h1/' } })
  await server.down()
  await expect(start(config)).rejects.toMatchObject({ fault: { code: 'STORE_S3_UNREACHABLE' } })
  await server.up()
  await network.startPeer(0)
}, 120_000)
