/** The API's token over starts of the daemon, which runs in this process. */
import { readFile, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { runDaemon } from '../../../src/cli/daemon.ts'
import { TestNetwork } from '../peer/network.ts'

interface Started {
  readonly url: string
  readonly token: string
}

test('each start has a token of its own, and that of the last one opens nothing', async () => {
  await using network = await TestNetwork.start({ peers: 1, started: 0 })
  const [config] = network.configs
  if (config === undefined) throw new Error('no config')
  const { dataDir, genesis, institution, passphraseFile } = config
  const file = join(network.folder, 'peer.json')
  const options = { listen: ['/ip4/127.0.0.1/tcp/0'], api: { port: 0 }, log: { level: 'silent' } }
  const store = { capacity: '1 GiB', reserveFree: '0 B' }
  await writeFile(file, JSON.stringify({ institution, dataDir, genesis, passphraseFile, store, ...options }))
  // As an older daemon left it, for others to read.
  const lasting = 'a-token-that-would-have-been-kept-for-ever'
  await writeFile(join(dataDir, 'api-token'), lasting, { mode: 0o644 })
  const stdout = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
  const statusWith = async ({ url }: Started, token: string): Promise<number> =>
    (await fetch(`${url}/api/v1/status`, { headers: { authorization: `Bearer ${token}` } })).status
  const seen: string[] = [lasting]
  for (let start = 0; start < 2; start++) {
    const stop = new AbortController()
    const running = runDaemon(file, { json: true, signal: stop.signal })
    const api = await vi.waitFor(async () => JSON.parse(await readFile(join(dataDir, 'api.json'), 'utf8')) as Started, {
      timeout: 20_000,
    })
    // What Prometheus reads again for each scrape.
    const path = join(dataDir, 'api-token')
    expect(await readFile(path, 'utf8')).toBe(api.token)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect((await stat(join(dataDir, 'api.json'))).mode & 0o777).toBe(0o600)
    expect(await statusWith(api, api.token)).toBe(200)
    for (const earlier of seen) expect(await statusWith(api, earlier)).toBe(401)
    seen.push(api.token)
    stop.abort()
    await running
  }
  stdout.mockRestore()
  expect((await readdir(dataDir)).filter((name) => name.startsWith('api'))).toEqual(['api-token'])
})
