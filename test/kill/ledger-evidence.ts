/** What the independent checker needs of a network of daemons, and the checks that all kill tests of the ledger end with. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, vi } from 'vitest'
import type { DaemonNetwork, DaemonPeer } from '../../scripts/daemon-network.ts'
import { type Acknowledged, type CheckedValidator, checkLedger, seePeer } from './ledger-checker.ts'
import { type ReadVoteLog, readVoteLog } from './vote-log-reader.ts'

const SAME_HEIGHT = { timeout: 90_000, interval: 200 }

export const voteLogOf = (peer: DaemonPeer): string => join(peer.dataDir, 'votes', 'votes.log')

/** A copy of a vote log as it is now; a frame that is being written is left out. */
export async function copyVoteLog(peer: DaemonPeer): Promise<ReadVoteLog> {
  return readVoteLog(new Uint8Array(await readFile(voteLogOf(peer))))
}

/** All daemons run: they come to one height, and the checker finds nothing wrong. @returns that height. */
export async function checkNetwork(
  network: DaemonNetwork,
  given: { readonly acknowledged: readonly Acknowledged[]; readonly voteLogs: readonly ReadVoteLog[] },
): Promise<number> {
  const least = Math.max(0, ...given.acknowledged.map(({ height }) => height))
  await vi.waitFor(async () => {
    const heights = await Promise.all(network.peers.map((peer) => peer.height()))
    expect(new Set(heights).size, `heights ${heights.join(', ')}`).toBe(1)
    expect(heights[0]).toBeGreaterThanOrEqual(least)
  }, SAME_HEIGHT)
  const genesis = JSON.parse(await readFile(network.genesis, 'utf8')) as {
    readonly validators: readonly { readonly institution: string; readonly key: string }[]
  }
  const validators: CheckedValidator[] = genesis.validators.map(({ institution, key }) => ({
    institution,
    key: new Uint8Array(Buffer.from(key, 'hex')),
  }))
  const { chain } = await network.peer(0).get<{ chain: string }>('/ledger/head')
  const peers = await Promise.all(
    network.peers.map(async (peer) => {
      const { token, url } = await peer.api()
      return seePeer(peer.id, `${url}/api/v1`, token)
    }),
  )
  const logs = [...given.voteLogs, ...(await Promise.all(network.peers.map(copyVoteLog)))]
  expect(checkLedger({ chain, validators, peers, acknowledged: given.acknowledged, voteLogs: logs })).toEqual([])
  return Math.min(...peers.map(({ head }) => head.height))
}
