/** `failover`: one of two providers is killed, or stopped in its tracks, in the middle of a `get`: the longest pause. */
import { rm, stat } from 'node:fs/promises'
import { setTimeout as waitMs } from 'node:timers/promises'
import { join } from 'node:path'
import { DaemonNetwork } from '../scripts/daemon-network.ts'
import { cliJson, runCli } from '../scripts/daemon-process.ts'
import { type Figure, median, staysUnder } from './figure.ts'
import { storeAndGrant } from './get.ts'
import { randomFile } from './machine.ts'

const MIB = 1024 * 1024

export async function benchFailover(options: { quick: boolean }): Promise<Figure[]> {
  const bytes = (options.quick ? 256 : 1024) * MIB
  const rounds = options.quick ? 1 : 5
  const file = 'input.bin'
  await using network = await DaemonNetwork.start({ count: 3 })
  const [origin, copy, reader] = [network.peer(0), network.peer(2), network.peer(1)]
  const input = join(network.folder, file)
  await randomFile(input, bytes)
  const record = await storeAndGrant(network, input)
  // The second provider keeps the ciphertext: it needs no key for that.
  const shown = await cliJson<{ versions: { manifest: { '/': string } }[] }>(
    'dist',
    origin.args('record', 'show', record),
  )
  const manifest = shown.versions[0]?.manifest['/'] ?? ''
  const kept = join(network.folder, 'kept.sealed')
  await cliJson('dist', copy.args('get', manifest, '--sealed', '--keep', '--out', kept))
  const pauses: Record<'SIGKILL' | 'SIGSTOP', number[]> = { SIGKILL: [], SIGSTOP: [] }
  for (let round = 0; round < rounds; round++) {
    for (const signal of ['SIGKILL', 'SIGSTOP'] as const) {
      const out = join(network.folder, 'output.bin')
      await rm(out, { force: true })
      await rm(`${out}.part`, { force: true })
      pauses[signal].push(
        await longestPause(reader.args('get', record, '--out', out), `${out}.part`, bytes, () =>
          process.kill(copy.daemon.pid, signal),
        ),
      )
      if (signal === 'SIGSTOP') process.kill(copy.daemon.pid, 'SIGKILL')
      await copy.daemon.ended
      await copy.restart()
      await network.connected()
    }
  }
  return [
    staysUnder('failover', 'longest pause, a provider killed', median(pauses.SIGKILL), 's', 2),
    staysUnder('failover', 'longest pause, a provider stopped', median(pauses.SIGSTOP), 's', 2),
  ]
}

/** Runs a `get`, strikes once a quarter is written, and watches the part file grow. @returns the longest pause after, in s */
async function longestPause(args: string[], part: string, bytes: number, strike: () => void): Promise<number> {
  const getting = runCli('dist', [...args, '--json'])
  let ended = false
  void getting.finally(() => {
    ended = true
  })
  let size = 0
  let grewAt = performance.now()
  let struck = false
  let longest = 0
  while (!ended) {
    await waitMs(5)
    const now = await stat(part).then(
      (one) => one.size,
      () => size,
    )
    if (now === size) continue
    if (struck) longest = Math.max(longest, performance.now() - grewAt)
    size = now
    grewAt = performance.now()
    if (!struck && size > bytes / 4) {
      strike()
      struck = true
    }
  }
  const { status, stderr } = await getting
  if (status !== 0) throw new Error(`get failed after the strike: ${stderr}`)
  if (!struck) throw new Error('the file was whole before the strike')
  return longest / 1000
}
