/** The daemon process: peer and HTTP API, from start to an orderly stop. */
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { pino } from 'pino'
import { startGateway } from '../gateway/server.ts'
import { startPeer } from '../peer/compose.ts'
import { loadPeerConfig } from '../peer/config.ts'
import { writeWhole } from '../peer/identity.ts'
import { API_FILE } from './home.ts'

const TOKEN_FILE = 'api-token'

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
    const token = await apiToken(join(config.dataDir, TOKEN_FILE))
    const { host, port } = config.api
    const gateway = await startGateway({ peer, clock, log }, { host, port, token })
    try {
      await writeWhole(apiFile, `${JSON.stringify({ url: gateway.url, token })}\n`, 0o600)
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

/** The API's token: made once, then the same over restarts. */
async function apiToken(file: string): Promise<string> {
  const known = await readFile(file, 'utf8').catch(() => '')
  if (known.length >= 32) return known.trim()
  const token = randomBytes(32).toString('base64url')
  await writeWhole(file, token, 0o600)
  return token
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
}
