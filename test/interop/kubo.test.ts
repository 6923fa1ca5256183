/**
 * Kubo as a member of a consortium of real daemons: it fetches and pins by bitswap what `put` stored, Google's Tink opens what it
 * fetched, and CARs of either side import in the other. Nothing here but the daemons and the CLI is ours.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { execFile } from 'node:child_process'
import type { CID } from 'multiformats/cid'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { DaemonNetwork, type DaemonPeer } from '../../scripts/daemon-network.ts'
import { type Link, cliFault, cliJson } from '../../scripts/daemon-process.ts'
import { KuboNode } from '../../scripts/kubo-process.ts'
import { openAccount } from '../../src/cli/account.ts'
import { ApiClient } from '../../src/cli/api-client.ts'
import { objectKey, resolveObject } from '../../src/cli/target.ts'
import { TreeReader } from '../../src/cli/tree-reader.ts'
import { deriveKey } from '../../src/crypto/derive.ts'
import { sha256 } from '../../src/crypto/hash.ts'
import { sealStream } from '../../src/crypto/sealed-stream.ts'
import { FILE_KEY_LABEL } from '../../src/shards/manifest.ts'
import { buildFileTree } from '../../src/shards/unixfs-tree.ts'
import { BlockStore } from '../../src/store/block-store.ts'
import { RemoveCapability } from '../../src/store/blocks.ts'
import { findPrograms } from './programs.ts'

const exec = promisify(execFile)
const MIB = 1024 * 1024
const GIB = 1024 * MIB
const signal = new AbortController().signal
const programs = await findPrograms()

interface Put {
  readonly manifest: Link
  readonly content: Link
}

/** A Kubo node that no daemon knows yet. */
async function newKubo(folder: string, name: string): Promise<KuboNode> {
  if (programs === undefined) throw new Error('the programs are missing')
  return KuboNode.create(programs.ipfs, join(folder, name))
}

/** Connects the node to these daemons, and keeps it connected. */
async function attach(kubo: KuboNode, peers: readonly DaemonPeer[]): Promise<void> {
  await kubo.peerWith(peers.map(({ daemon }) => ({ ID: daemon.peer, Addrs: [...daemon.addresses] })))
  await kubo.start()
  await vi.waitFor(
    async () => {
      const connected = await kubo.run('swarm', 'peers')
      for (const { daemon } of peers) expect(connected).toContain(daemon.peer)
    },
    { timeout: 20_000, interval: 100 },
  )
}

function addressOf(peer: DaemonPeer): string {
  const [address = ''] = peer.daemon.addresses
  return address
}

/** The key of a stored object's first file, as its owner gets it. */
async function firstFileKey(peer: DaemonPeer, manifest: string, passphraseFile: string): Promise<Uint8Array> {
  const client = new ApiClient(await peer.api())
  try {
    const options = { home: join(peer.folder, 'home'), passphraseFile, json: true }
    const account = await openAccount(options, 'owner')
    const object = await resolveObject(client, new TreeReader(client, signal), manifest, undefined)
    const { key } = await objectKey(client, account, object)
    return deriveKey(key, FILE_KEY_LABEL, 0)
  } finally {
    client.close()
  }
}

describe.skipIf(programs === undefined)('Kubo as a member', () => {
  let folder: string
  let network: DaemonNetwork
  let kubo: KuboNode
  let hospital: DaemonPeer
  let institute: DaemonPeer

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'apotheca-kubo-'))
    kubo = await newKubo(folder, 'member')
    network = await DaemonNetwork.start({ count: 2, guests: [kubo.id] })
    hospital = network.peer(0)
    institute = network.peer(1)
    await cliJson('dist', hospital.args('key', 'create', 'owner'))
    await attach(kubo, network.peers)
  })
  afterAll(async () => {
    await kubo.stop()
    await network[Symbol.asyncDispose]()
    await rm(folder, { recursive: true, force: true })
  })

  async function put(path: string): Promise<Put> {
    return cliJson<Put>('dist', hospital.args('put', path, '--as', 'owner'))
  }
  async function sealedBytes(peer: DaemonPeer, cid: string, name: string): Promise<Buffer> {
    const out = join(folder, name)
    await cliJson('dist', peer.args('get', cid, '--sealed', '--out', out))
    return readFile(out)
  }

  test('it fetches a file by its CID, Tink opens it, and its pin outlives its own garbage collection', async () => {
    const plaintext = randomBytes(6 * MIB + 12_345)
    await writeFile(join(folder, 'plain'), plaintext)
    const { content, manifest } = await put(join(folder, 'plain'))
    const cid = content['/']
    const fetched = join(folder, 'fetched')
    await kubo.run('get', '-o', fetched, cid)
    const bytes = await readFile(fetched)
    expect(bytes.equals(await sealedBytes(hospital, cid, 'sealed'))).toBe(true)

    const keyFile = join(folder, 'file.key')
    await writeFile(keyFile, await firstFileKey(hospital, manifest['/'], join(network.folder, 'passphrase')))
    await exec(programs?.tinkOpen ?? '', [keyFile, fetched, join(folder, 'opened')])
    expect((await readFile(join(folder, 'opened'))).equals(plaintext)).toBe(true)

    await kubo.run('pin', 'add', '--progress=false', cid)
    await kubo.run('repo', 'gc', '--quiet')
    await kubo.run('--offline', 'get', '-o', join(folder, 'pinned'), cid)
    expect((await readFile(join(folder, 'pinned'))).equals(bytes)).toBe(true)
  })

  test('it fetches a folder with every file in it, and what it has not pinned goes with its garbage collection', async () => {
    const study = join(folder, 'study')
    await mkdir(study)
    for (let index = 0; index < 5; index++) {
      await writeFile(join(study, `slice-${index}`), randomBytes(index * 700_000 + 1))
    }
    const cid = (await put(study)).content['/']
    const fetched = join(folder, 'study-fetched')
    await kubo.run('get', '-o', fetched, cid)
    const names = (await readdir(fetched)).sort()
    expect(names).toEqual(['000', '001', '002', '003', '004'])
    for (const name of names) {
      const file = await kubo.run('resolve', '-r', `/ipfs/${cid}/${name}`)
      const sealed = await sealedBytes(hospital, file.replace('/ipfs/', ''), `study-${name}`)
      expect((await readFile(join(fetched, name))).equals(sealed)).toBe(true)
    }
    await kubo.run('repo', 'gc', '--quiet')
    expect(await kubo.refusal('--offline', 'block', 'stat', cid)).toContain('not found')
  })

  test('a Kubo node that the genesis does not name is refused during connection', async () => {
    await using stranger = await newKubo(folder, 'stranger')
    await stranger.start()
    for (const peer of network.peers) {
      // TLS 1.3 tells the dialing side that it is connected before the other side has seen its certificate: what it says now
      // counts for nothing, what it has a moment later does.
      await stranger.run('swarm', 'connect', addressOf(peer)).catch(() => undefined)
      await vi.waitFor(async () => expect(await readFile(peer.log, 'utf8')).toContain(stranger.id), {
        timeout: 10_000,
      })
      await vi.waitFor(async () => expect(await stranger.run('swarm', 'peers')).toBe(''), { timeout: 10_000 })
    }
    await writeFile(join(folder, 'secret'), randomBytes(1_000))
    const { content } = await put(join(folder, 'secret'))
    expect(await stranger.refusal('--timeout=3s', 'block', 'get', content['/'])).toContain('deadline exceeded')
    // The member is not: the same command, the same daemons.
    for (const peer of network.peers) {
      expect(await kubo.run('swarm', 'connect', addressOf(peer))).toContain('success')
    }
  })

  test('a CAR of an object imports in Kubo with its root, and back in another peer, where its owner opens it', async () => {
    await using apart = await newKubo(folder, 'apart')
    await apart.start()
    const plaintext = randomBytes(3 * MIB + 7)
    await writeFile(join(folder, 'report'), plaintext)
    const object = (await put(join(folder, 'report'))).manifest['/']
    const exported = join(folder, 'object.car')
    await cliJson('dist', hospital.args('car', 'export', object, '--out', exported))
    expect(await apart.run('dag', 'import', '--pin-roots=true', exported)).toContain(object)
    expect(await apart.run('--offline', 'pin', 'ls', '--type=recursive', '--quiet')).toContain(object)

    // Kubo's own export is the same stream: the same header, the same order, each block once.
    const again = join(folder, 'object-again.car')
    await apart.runInto(again, 'dag', 'export', '--progress=false', object)
    expect((await readFile(again)).equals(await readFile(exported))).toBe(true)
    const imported = await cliJson<{ roots: Link[]; objects: Link[] }>('dist', institute.args('car', 'import', again))
    expect(imported).toMatchObject({ roots: [{ '/': object }], objects: [{ '/': object }] })
    const out = join(folder, 'report-opened')
    const owner = ['--home', join(hospital.folder, 'home'), '--passphrase-file', join(network.folder, 'passphrase')]
    await cliJson('dist', [...owner, '--peer', institute.dataDir, 'get', object, '--as', 'owner', '--out', out])
    expect((await readFile(out)).equals(plaintext)).toBe(true)
  })

  test('a CAR of Kubo imports with its root and reads back; one that was altered or cut is refused', async () => {
    await using apart = await newKubo(folder, 'author')
    await apart.start()
    const bytes = randomBytes(5 * MIB + 99)
    await writeFile(join(folder, 'foreign'), bytes)
    const profile = ['--cid-version=1', '--raw-leaves', '--chunker=size-1048576', '--max-file-links=1024']
    const cid = await apart.run('add', '--quieter', '--progress=false', ...profile, join(folder, 'foreign'))
    const car = join(folder, 'foreign.car')
    await apart.runInto(car, 'dag', 'export', '--progress=false', cid)
    const whole = await readFile(car)
    const cut = join(folder, 'cut.car')
    await writeFile(cut, whole.subarray(0, whole.length - 1_000))
    expect(await cliFault('dist', institute.args('car', 'import', cut))).toMatchObject({ fault: 'CAR_TRUNCATED' })
    whole[whole.length - 1_000] = (whole[whole.length - 1_000] ?? 0) ^ 1
    await writeFile(cut, whole)
    expect(await cliFault('dist', institute.args('car', 'import', cut))).toMatchObject({ fault: 'CAR_BLOCK_ALTERED' })
    expect(await institute.get(`/has/${cid}`)).toEqual({ here: false })

    const imported = await cliJson<{ roots: Link[] }>('dist', institute.args('car', 'import', car))
    expect(imported.roots).toEqual([{ '/': cid }])
    expect((await sealedBytes(institute, cid, 'foreign-back')).equals(bytes)).toBe(true)
  })
})

test.skipIf(programs === undefined)(
  'Kubo gathers a file from several daemons, none of which has all of its blocks',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'apotheca-spread-'))
    await using kubo = await newKubo(folder, 'member')
    const { root, nodes, segments } = await sealedFile(randomBytes(14 * MIB))
    const spread = async ({ peers }: DaemonNetwork): Promise<void> => {
      for (const [index, peer] of peers.entries()) {
        const leaves = segments.filter((_, at) => at % peers.length === index)
        await storeBlocks(peer, index === 0 ? [...leaves, ...nodes] : leaves)
      }
    }
    await using network = await DaemonNetwork.start({ count: 3, guests: [kubo.id], beforeStart: spread })
    for (const [index, peer] of network.peers.entries()) {
      const here = await Promise.all(segments.map(async (one) => isHere(peer, one)))
      expect(here).toEqual(segments.map((_, at) => at % 3 === index))
    }
    await attach(kubo, network.peers)
    await kubo.run('get', '-o', join(folder, 'out'), root.toString())
    expect((await readFile(join(folder, 'out'))).equals(Buffer.concat(segments))).toBe(true)
    await rm(folder, { recursive: true, force: true })
  },
)

/** A sealed stream, cut and named as `put` does it. */
async function sealedFile(
  plaintext: Uint8Array,
): Promise<{ root: CID; nodes: readonly Uint8Array[]; segments: readonly Uint8Array[] }> {
  const source = (async function* () {
    yield plaintext
  })()
  const pieces: Uint8Array[] = []
  for await (const piece of sealStream(source, { key: randomBytes(32), profile: 'aes-256-gcm' })) pieces.push(piece)
  const bytes = Buffer.concat(pieces)
  const segments: Uint8Array[] = []
  for (let at = 0; at < bytes.length; at += MIB) segments.push(bytes.subarray(at, at + MIB))
  const tree = buildFileTree(segments.map(sha256), bytes.length)
  return { root: tree.root, nodes: tree.nodes.map((node) => node.bytes), segments }
}

/** Writes blocks into the store of a daemon that isn't running. */
async function storeBlocks(peer: DaemonPeer, blocks: readonly Uint8Array[]): Promise<void> {
  const silent = () => undefined
  const log = { debug: silent, info: silent, warn: silent, error: silent }
  const store = await BlockStore.open(
    { clock: { nowMs: () => Date.now() }, log, capability: new RemoveCapability() },
    { dir: join(peer.dataDir, 'blocks'), capacityBytes: GIB, reserveFreeBytes: 0, fullRatio: 1 },
  )
  await store.write(blocks.map((block) => ({ digest: sha256(block), parts: [block] })))
  await store.close()
}

async function isHere(peer: DaemonPeer, block: Uint8Array): Promise<boolean> {
  const cid = buildFileTree([sha256(block)], block.length).root
  return (await peer.get<{ here: boolean }>(`/has/${cid.toString()}`)).here
}
