/** A validator whose vote log is damaged or gone: it may have said anything, so it says nothing more, and tells what to do. */
import { readFile, rm, stat, writeFile } from 'node:fs/promises'
import { setTimeout as waitMs } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { DaemonNetwork, type DaemonPeer } from '../../scripts/daemon-network.ts'
import { runCli } from '../../scripts/daemon-process.ts'
import { LedgerClients } from './ledger-clients.ts'
import { voteLogOf } from './ledger-evidence.ts'

const WAIT = { timeout: 60_000, interval: 100 }

interface StatusAnswer {
  readonly height: number
  readonly consensus?: { readonly validates: boolean; readonly halted?: { readonly code: string } }
}

async function flipByte(file: string): Promise<void> {
  const bytes = await readFile(file)
  // Within the first records, with whole ones behind: no torn end.
  const at = Math.floor(bytes.length / 3)
  bytes[at] = (bytes[at] ?? 0) ^ 0x10
  await writeFile(file, bytes)
}

test.each([
  { what: 'damaged', code: 'VOTE_LOG_DAMAGED', harm: flipByte },
  { what: 'missing', code: 'VOTE_LOG_MISSING', harm: (file: string) => rm(file) },
])('a validator whose vote log is $what follows, signs nothing, says what to do; the others go on', async (given) => {
  await using network = await DaemonNetwork.start({ count: 4, validators: 4 })
  await using clients = await LedgerClients.start(network, 2)
  const harmed = network.peer(3)
  await vi.waitFor(() => expect(clients.acknowledged.length).toBeGreaterThan(20), WAIT)
  harmed.signal('SIGKILL')
  await harmed.daemon.ended
  await given.harm(voteLogOf(harmed))
  const sizeBefore = await sizeOf(voteLogOf(harmed))
  await harmed.restart()
  const before = clients.acknowledged.length
  await vi.waitFor(() => expect(clients.acknowledged.length).toBeGreaterThan(before + 20), WAIT)
  const { height } = await harmed.get<StatusAnswer>('/status')
  await vi.waitFor(async () => expect((await harmed.get<StatusAnswer>('/status')).height).toBeGreaterThan(height), WAIT)
  const status = await harmed.get<StatusAnswer>('/status')
  expect(status.consensus).toMatchObject({ validates: false, halted: { code: given.code } })
  expect(await sizeOf(voteLogOf(harmed))).toBe(sizeBefore)
  await expectWords(harmed, given.code)
  await clients.stop()
  // A restart changes nothing about it.
  await harmed.stop()
  await harmed.restart()
  await waitMs(1_000)
  expect((await harmed.get<StatusAnswer>('/status')).consensus?.halted?.code).toBe(given.code)
})

/** @returns `undefined` where there is none. */
async function sizeOf(file: string): Promise<number | undefined> {
  return stat(file).then(
    ({ size }) => size,
    () => undefined,
  )
}

/** In the log and in `peer status`: that it signs nothing, and what to do. */
async function expectWords(peer: DaemonPeer, code: string): Promise<void> {
  expect(await readFile(peer.log, 'utf8')).toMatch(new RegExp(`${code}.*signs nothing`))
  const { stdout } = await runCli('dist', peer.args('peer', 'status'))
  expect(stdout).toMatch(/halted: .*vote log/i)
}
