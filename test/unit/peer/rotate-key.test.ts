import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toString } from 'uint8arrays/to-string'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parsePeerConfig, type PeerConfig } from '../../../src/peer/config.ts'
import { createIdentity, openIdentity, readPublicIdentity } from '../../../src/peer/identity.ts'
import { rotateConsensusKey } from '../../../src/peer/rotate-key.ts'
import { LevelStore } from '../../../src/store/level-store.ts'

/** Each keystore that is sealed or opened takes about a second of a busy core. */
const TIMEOUT_MS = 60_000

let folder: string
let config: PeerConfig

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'apotheca-rotate-'))
  const text = JSON.stringify({
    institution: 'city',
    dataDir: 'data',
    genesis: 'genesis.json',
    listen: ['/ip4/127.0.0.1/tcp/24100'],
    store: { capacity: '8 GiB' },
  })
  config = parsePeerConfig(text, join(folder, 'config.json'))
})
afterEach(async () => rm(folder, { recursive: true, force: true }))

const at = (...names: readonly string[]): string => join(folder, 'data', ...names)
const consensusKey = async (): Promise<string> => toString((await openIdentity(config)).consensus.publicKey, 'base16')

test(
  'the consensus key is another one, all other keys stay, and what belonged to the old one is kept aside',
  async () => {
    const made = await createIdentity(config)
    await mkdir(at('votes'))
    await writeFile(at('votes', 'votes.log'), 'damaged')
    const old = await readFile(at('keys.json'))
    const rotated = await rotateConsensusKey(config)
    expect(rotated.before).toBe(made.consensusKey)
    const identity = await openIdentity(config)
    expect(toString(identity.consensus.publicKey, 'base16')).toBe(rotated.consensusKey)
    expect([identity.peerId, identity.account.id]).toEqual([made.peer, made.accountId])
    expect(await readPublicIdentity(at('identity.json'))).toEqual({ ...made, consensusKey: rotated.consensusKey })
    expect(await readFile(rotated.keysAside)).toEqual(old)
    expect(await readFile(rotated.votesAside ?? '', 'utf8')).toBe('damaged')
    await expect(readFile(at('votes', 'votes.log'))).rejects.toMatchObject({ code: 'ENOENT' })
  },
  TIMEOUT_MS,
)

test(
  'a run that was cut short before the new keys were in place is repeated',
  async () => {
    const made = await createIdentity(config)
    const name = made.consensusKey.slice(0, 16)
    await writeFile(at(`keys-${name}.json`), await readFile(at('keys.json')), { mode: 0o600 })
    await mkdir(at('votes'))
    await writeFile(at('votes', 'votes.log'), 'old')
    await rename(at('votes', 'votes.log'), at('votes', `votes-${name}.log`))
    const rotated = await rotateConsensusKey(config)
    expect(rotated.votesAside).toBeUndefined()
    expect(await consensusKey()).toBe(rotated.consensusKey)
    expect(await readFile(at('votes', `votes-${name}.log`), 'utf8')).toBe('old')
  },
  TIMEOUT_MS,
)

test(
  'with a wrong passphrase, or while the daemon runs, nothing changes',
  async () => {
    const made = await createIdentity(config)
    const passphrase = await readFile(config.passphraseFile, 'utf8')
    await writeFile(config.passphraseFile, 'another\n')
    await expect(rotateConsensusKey(config)).rejects.toMatchObject({ fault: { code: 'KEYSTORE_WRONG_PASSPHRASE' } })
    await writeFile(config.passphraseFile, passphrase)
    const daemon = await LevelStore.open(at('state'))
    await expect(rotateConsensusKey(config)).rejects.toMatchObject({ fault: { code: 'STORE_FOLDER_IN_USE' } })
    await daemon.close()
    expect(await consensusKey()).toBe(made.consensusKey)
  },
  TIMEOUT_MS,
)

test('where there are no keys there is nothing to replace', async () => {
  await expect(rotateConsensusKey(config)).rejects.toMatchObject({ fault: { code: 'IDENTITY_MISSING' } })
})
