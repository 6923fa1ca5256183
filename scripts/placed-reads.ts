/** Reads of placed files at real daemons, watched: for benches and kill tests. */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { randomFile } from '../bench/machine.ts'
import type { PeerStatus } from '../src/peer/peer.ts'
import type { PlacementStatus } from '../src/peer/placement-status.ts'
import { decodeManifest } from '../src/shards/manifest.ts'
import type { DaemonNetwork, DaemonPeer } from './daemon-network.ts'
import { cliJson } from './daemon-process.ts'

const MIB = 1024 * 1024
const TABLE_MS_MAX = 180_000

/** Waits until what is stored gets so many columns: each try is a small object. */
export async function tableOf(network: DaemonNetwork, columns: number): Promise<void> {
  const from = network.peer(0)
  await cliJson('dist', from.args('key', 'create', 'bench'))
  const file = join(network.folder, 'small.bin')
  await randomFile(file, MIB)
  for (const untilMs = Date.now() + TABLE_MS_MAX; ; ) {
    const put = from.args('put', file, '--as', 'bench', '--restart')
    const { placement } = await cliJson<{ placement: PlacementStatus }>('dist', put)
    if (placement.columns === columns) return
    if (Date.now() > untilMs) throw new Error(`no table of ${columns} columns: ${JSON.stringify(placement)}`)
  }
}

/** The root of a record's ciphertext. */
export async function contentOfRecord(peer: DaemonPeer, record: string): Promise<string> {
  const { manifest } = await peer.get<{ manifest: { '/': string } }>(`/records/${record}/versions/1`)
  return contentOf(peer, manifest['/'])
}

/** The root of an object's ciphertext. */
export async function contentOf(peer: DaemonPeer, manifest: string): Promise<string> {
  const answer = await open(peer, `/blocks/${manifest}`)
  return decodeManifest(new Uint8Array(await answer.arrayBuffer())).content.toString()
}

/** The members by how many blocks they gave this one: those with the data of what it read come first. */
export async function byBlocksGiven(network: DaemonNetwork, reader: DaemonPeer): Promise<DaemonPeer[]> {
  const { members } = await reader.get<PeerStatus>('/status')
  const given = new Map(members.map(({ institution, reads }) => [institution, reads?.blocks ?? 0]))
  const others = network.peers.filter((peer) => peer !== reader)
  return others.toSorted((one, other) => (given.get(other.id) ?? 0) - (given.get(one.id) ?? 0))
}

export interface Streamed {
  readonly bytes: number
  /** SHA-256 of the stream, in hexadecimal. */
  readonly hash: string
  /** The longest that no byte came; after `act`, where it was called. */
  readonly pauseMs: number
}

/** Reads a file's ciphertext; calls `act` when so many bytes have come. */
export async function streamed(peer: DaemonPeer, content: string, after: number, act: () => void): Promise<Streamed> {
  const { body } = await open(peer, `/content/${content}`)
  if (body === null) throw new Error('an answer without a body')
  const hash = createHash('sha256')
  let bytes = 0
  let pauseMs = 0
  let sinceMs = performance.now()
  for await (const piece of body as unknown as AsyncIterable<Uint8Array>) {
    pauseMs = Math.max(pauseMs, performance.now() - sinceMs)
    hash.update(piece)
    if (bytes < after && bytes + piece.length >= after) {
      act()
      pauseMs = 0
    }
    bytes += piece.length
    sinceMs = performance.now()
  }
  return { bytes, hash: hash.digest('hex'), pauseMs }
}

async function open(peer: DaemonPeer, path: string): Promise<Response> {
  const { token, url } = await peer.api()
  const answer = await fetch(`${url}/api/v1${path}`, { headers: { authorization: `Bearer ${token}` } })
  if (!answer.ok) throw new Error(`${peer.id} ${path}: HTTP ${answer.status} ${await answer.text()}`)
  return answer
}
