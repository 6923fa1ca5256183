/** The daemon process: peer and HTTP API, from start to an orderly stop. */
import { randomBytes } from 'node:crypto'
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { pino } from 'pino'
import { startGateway } from '../gateway/server.ts'
import { startPeer } from '../peer/compose.ts'
import { loadPeerConfig } from '../peer/config.ts'
import { writeWhole } from '../peer/identity.ts'
import { API_FILE } from './home.ts'

/** The token alone, for programs such as Prometheus, which read it again for each request. */
const TOKEN_FILE = 'api-token'
const TOKEN_BYTES = 32

export interface DaemonOptions {
  readonly json: boolean
  /** Aborted when the daemon is to stop. */
  readonly signal: AbortSignal
}

/**
 * Runs until the signal is aborted, or until the peer can't go on.
 *
 * Prints one line when it listens (JSON with `--json`); logs are JSON lines on stderr.
 *
 * @throws faults of the config, the keys, the store, the network and the API
 */
export async function runDaemon(configFile: string, options: DaemonOptions): Promise<void> {
  // A daemon that moves gigabytes through buffers stays small: see main.ts.
  setFlagsFromString('--heap-growing-percent=30')
  const config = await loadPeerConfig(configFile)
  await mkdir(config.dataDir, { recursive: true, mode: 0o700 })
  const log = pino(
    { level: config.log.level, base: { institution: config.institution } },
    pino.destination({ fd: 2, sync: true }),
  )
  const failed = Promise.withResolvers<never>()
  // Awaited only once everything runs; until then a failure shows there.
  failed.promise.catch(() => undefined)
  const clock = { nowMs: () => Date.now() }
  const peer = await startPeer(config, { clock, log, onFailure: failed.reject })
  const apiFile = join(config.dataDir, API_FILE)
  try {
    // A new one for each start: after a crash `api.json` is still there, and sends its readers to whoever has the port by then.
    const token = randomBytes(TOKEN_BYTES).toString('base64url')
    await writeSecret(join(config.dataDir, TOKEN_FILE), token)
    const { host, port } = config.api
    const gateway = await startGateway({ peer, clock, log }, { host, port, token })
    try {
      await writeSecret(apiFile, `${JSON.stringify({ url: gateway.url, token })}\n`)
      const listening = { institution: config.institution, peer: peer.identity.peerId, api: gateway.url }
      const addresses = peer.host.getMultiaddrs().map(String)
      process.stdout.write(
        options.json
          ? `${JSON.stringify({ ...listening, addresses })}\n`
          : `${config.institution} listens: API ${gateway.url}, peers ${addresses.join(' ')}\n`,
      )
      await Promise.race([aborted(options.signal), failed.promise])
    } finally {
      await rm(apiFile, { force: true })
      await gateway.close()
    }
  } finally {
    await peer.close()
  }
}

/** Writes a file that only its owner reads. Whoever reads it meanwhile gets the old or the new one, whole. */
async function writeSecret(file: string, text: string): Promise<void> {
  const aside = `${file}.new`
  // One that a crash left may be open to others.
  await rm(aside, { force: true })
  await writeWhole(aside, text, 0o600)
  await rename(aside, file)
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
}
