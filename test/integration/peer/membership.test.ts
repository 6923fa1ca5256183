/**
 * Validators change: four of five institutions validate at first; real TCP, real disks, the production daemon in this process, the
 * CLI as its own process with admin keys from their files. The tests are steps of one story, in this order.
 */
import { execFile } from 'node:child_process'
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { multiaddr } from '@multiformats/multiaddr'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { submitTx } from '../../../src/cli/submit.ts'
import { encodeMessage } from '../../../src/consensus/messages.ts'
import type { ConsensusStatus } from '../../../src/consensus/status.ts'
import { signVote } from '../../../src/consensus/votes.ts'
import { type TxId, parseTxId, txIdOf } from '../../../src/core/ids.ts'
import type { Log, Signer } from '../../../src/core/ports.ts'
import { cborCid } from '../../../src/crypto/hash.ts'
import { openKeystore, sealKeystore } from '../../../src/crypto/keystore.ts'
import { generateSigningKey, softwareSigner } from '../../../src/crypto/signatures.ts'
import { draftMembershipApprove, draftMembershipPropose } from '../../../src/domain/membership.ts'
import type { ValidatorsAnswer } from '../../../src/gateway/validator-routes.ts'
import { ConsensusStreams } from '../../../src/p2p/consensus-streams.ts'
import { startHost } from '../../../src/p2p/host.ts'
import { ADMIN_KEY_FILE, IDENTITY_FILE, openIdentity, readPublicIdentity } from '../../../src/peer/identity.ts'
import { readKeystoreFile, writeKeystoreFile } from '../../../src/store/keystore-file.ts'
import { TestNetwork, type TestPeer, newAccount } from './network.ts'

const CLI = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url))
const TOKEN = 'test-token-of-thirty-two-characters!'
const WAIT = { timeout: 30_000, interval: 50 }
const DAY_MS = 86_400_000
const NOBODY = txIdOf(new Uint8Array(32))
const quiet: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

let network: TestNetwork
let folder: string

beforeAll(async () => {
  network = await TestNetwork.start({ peers: 5, validators: 4 })
  folder = join(network.folder, 'cli')
  await mkdir(folder)
  await writeFile(join(folder, 'api.json'), JSON.stringify({ url: network.peer(0).gateway.url, token: TOKEN }))
}, 60_000)
afterAll(async () => network[Symbol.asyncDispose]())

interface Ran {
  readonly status: number
  readonly out: string
  readonly err: string
}

/** Runs the CLI against peer 0; the passphrase is the same for all keys here. */
async function cli(...args: readonly string[]): Promise<Ran> {
  return new Promise((resolve) => {
    const options = { env: { ...process.env, APOTHECA_PEER: folder, NO_COLOR: '1' } }
    const passphrase = ['--passphrase-file', join(network.folder, 'h0', 'passphrase')]
    execFile(process.execPath, [CLI, ...passphrase, ...args], options, (error, out, err) => {
      resolve({ status: typeof error?.code === 'number' ? error.code : 0, out, err })
    })
  })
}

const adminKey = (index: number): string => join(network.folder, `h${index}`, ADMIN_KEY_FILE)
const withAdminKey = (index: number): string[] => ['--admin-key', adminKey(index)]

async function consensusKey(index: number): Promise<string> {
  return (await readPublicIdentity(join(network.folder, `h${index}`, IDENTITY_FILE))).consensusKey
}

async function list(at = 0): Promise<ValidatorsAnswer> {
  return network.peer(at).client.get<ValidatorsAnswer>('/api/v1/validators')
}

const names = (answer: ValidatorsAnswer): string => answer.validators.map((one) => one.institution).join(' ')
const statusOf = (at: number): ConsensusStatus | undefined => network.peer(at).peer.consensus?.()

async function adminSigner(index: number): Promise<Signer> {
  const words = new TextEncoder().encode('for a test')
  const [key] = await openKeystore(await readKeystoreFile(adminKey(index)), words)
  return softwareSigner(key?.privateKey ?? new Uint8Array(0))
}

/** The account of an institution, with its admin key, or that of another. */
function institution(index: number, key = index): Parameters<typeof submitTx>[1] {
  return { id: network.peer(index).peer.identity.account.id, openSigner: async () => adminSigner(key) }
}

async function proposalId(ran: Ran): Promise<TxId> {
  expect(ran).toMatchObject({ status: 0, err: '' })
  return parseTxId((JSON.parse(ran.out) as { id: string }).id)
}

/** Proposed by h0 through the CLI with `--now`, approved by three more: enough of five. @returns the epoch that begins with it */
async function decide(...changes: readonly string[]): Promise<number> {
  const { epoch } = await list()
  const proposal = await proposalId(
    await cli('--json', 'validators', 'propose', ...changes, '--now', ...withAdminKey(0)),
  )
  const { client } = network.peer(0)
  const signal = AbortSignal.timeout(60_000)
  for (const by of [1, 2, 3]) await submitTx(client, institution(by), draftMembershipApprove({ proposal }), { signal })
  await vi.waitFor(async () => expect((await list()).epoch).toBe(epoch + 1), WAIT)
  return epoch + 1
}

/** That a transaction becomes final though a validator is stopped shows that all others vote. */
async function finalWithout(index: number, name: string): Promise<TestPeer> {
  await network.peer(index).close()
  await newAccount(network.peer(0), name)
  const back = await network.startPeer(index)
  const { height } = network.peer(0).peer.chain.head
  await vi.waitFor(() => expect(back.peer.chain.head.height).toBeGreaterThanOrEqual(height), WAIT)
  return back
}

test('who validates is told by its key, with what decides a change', async () => {
  const { err, out, status } = await cli('validators', 'list')
  expect([status, err]).toEqual([0, ''])
  expect(out).toContain('epoch 0, since the genesis; ends with height 1000')
  expect(out).toContain('4 of 5 institutions validate; 3 must vote for a block')
  for (const index of [0, 1, 2, 3]) expect(out).toContain(await consensusKey(index))
  expect(out).not.toContain(await consensusKey(4))
})

test('a change is refused with a code: by no admin key, a wrong one, for nothing, or where it is impossible', async () => {
  const stranger = join(folder, 'stranger.json')
  const words = new TextEncoder().encode('for a test')
  const key = { name: 'admin', type: 'ed25519' as const, ...generateSigningKey() }
  await writeKeystoreFile(stranger, await sealKeystore([key], words))
  const h4 = `h4=${await consensusKey(4)}`
  const wrong = join(folder, 'wrong-passphrase')
  await writeFile(wrong, 'another\n', { mode: 0o600 })
  const cases: readonly (readonly [number, string, ...string[]])[] = [
    [4, 'ADMIN_KEY_UNKNOWN', 'propose', '--add', h4, '--admin-key', stranger],
    [2, 'ADMIN_KEY_MISSING', 'propose', '--add', h4, '--admin-key', join(network.folder, 'h0', 'keys.json')],
    [4, 'KEYSTORE_WRONG_PASSPHRASE', 'propose', '--add', h4, ...withAdminKey(0), '--passphrase-file', wrong],
    [2, 'VALIDATORS_CHANGE_NEEDED', 'propose', ...withAdminKey(0)],
    [3, 'MEMBERSHIP_PROPOSAL_UNKNOWN', 'show', NOBODY],
    [8, 'MEMBERSHIP_PROPOSAL_UNKNOWN', 'approve', NOBODY, ...withAdminKey(1)],
    [8, 'MEMBERSHIP_CHANGE_IMPOSSIBLE', 'propose', '--remove', 'h4', ...withAdminKey(0)],
    [8, 'MEMBERSHIP_CHANGE_IMPOSSIBLE', 'propose', '--add', `h3=${await consensusKey(4)}`, ...withAdminKey(0)],
    [8, 'MEMBERSHIP_INSTITUTION_UNKNOWN', 'propose', '--add', `h9=${await consensusKey(4)}`, ...withAdminKey(0)],
    [8, 'MEMBERSHIP_KEY_INVALID', 'propose', '--add', `h4=${'00'.repeat(32)}`, ...withAdminKey(0)],
    [8, 'MEMBERSHIP_PERIOD_TOO_LONG', 'propose', '--add', h4, '--for', '1y', ...withAdminKey(0)],
    [2, 'institution=key', 'propose', '--add', 'h4', ...withAdminKey(0)],
    [2, 'institution=key', 'propose', '--rotate', 'h4=xyz', ...withAdminKey(0)],
    [2, 'a number and a unit', 'propose', '--now', '--for', 'soon', ...withAdminKey(0)],
  ]
  for (const [status, code, ...args] of cases) {
    expect(await cli('validators', ...args), args.join(' ')).toMatchObject({
      status,
      err: expect.stringContaining(code),
    })
  }
  // The account of one, signed with the admin key of another: no place in any block.
  const draft = draftMembershipPropose({ base: 0, changes: [], now: true, expiresMs: Date.now() + DAY_MS })
  const signal = AbortSignal.timeout(20_000)
  await expect(submitTx(network.peer(0).client, institution(0, 1), draft, { signal })).rejects.toMatchObject({
    fault: { code: 'TX_SIGNATURE_KEY_WRONG' },
  })
  expect((await list()).proposals).toEqual([])
}, 120_000)

test('a fifth institution votes once more than two thirds approved it, in the epoch that this begins', async () => {
  const key = await consensusKey(4)
  const id = await proposalId(
    await cli('--json', 'validators', 'propose', '--add', `h4=${key}`, '--now', '--for', '1d', ...withAdminKey(0)),
  )
  expect(await cli('validators', 'approve', id, ...withAdminKey(0))).toMatchObject({
    status: 8,
    err: expect.stringContaining('MEMBERSHIP_APPROVED_ALREADY'),
  })
  for (const by of [1, 2]) {
    const ran = await cli('validators', 'approve', id, ...withAdminKey(by))
    expect(ran).toMatchObject({ status: 0, err: '', out: expect.stringContaining(`by h${by}, final at height`) })
  }
  const shown = await cli('validators', 'show', id)
  for (const text of [`add h4 = ${key}`, '3 of 4 needed: h0, h1, h2', '1 of: h3, h4']) expect(shown.out).toContain(text)
  // Three of five are not more than two thirds.
  expect(await list()).toMatchObject({ epoch: 0, waiting: [], proposals: [{ state: 'open' }] })
  expect(network.peer(4).peer.consensus?.()).toBeUndefined()

  const last = await cli('validators', 'approve', id, ...withAdminKey(4))
  expect(last).toMatchObject({ status: 0, out: expect.stringContaining('more than two thirds have approved it') })
  await vi.waitFor(() => expect(statusOf(4)).toMatchObject({ epoch: 1, validates: true }), WAIT)
  expect(names(await list(4))).toBe('h0 h1 h2 h3 h4')
  expect((await list()).validators.map((one) => one.sinceEpoch)).toEqual([0, 0, 0, 0, 1])
  // Four of five must vote.
  await finalWithout(3, 'with-h4')
}, 120_000)

test('a proposal for validators that are not in force any more is refused', async () => {
  const draft = draftMembershipPropose({ base: 0, changes: [], now: true, expiresMs: Date.now() + DAY_MS })
  const signal = AbortSignal.timeout(20_000)
  await expect(submitTx(network.peer(1).client, institution(1), draft, { signal })).rejects.toMatchObject({
    fault: { code: 'TX_REFUSED', refusal: 'MEMBERSHIP_BASE_STALE' },
  })
  const open = await proposalId(await cli('--json', 'validators', 'propose', '--remove', 'h3', ...withAdminKey(2)))
  await decide('--remove', 'h4')
  expect(await cli('validators', 'approve', open, ...withAdminKey(1))).toMatchObject({
    status: 8,
    err: expect.stringContaining('MEMBERSHIP_BASE_STALE'),
  })
  expect(await cli('validators', 'show', open)).toMatchObject({ status: 0, out: expect.stringContaining('stale') })
}, 120_000)

test('a removed validator follows, and the others decide without it', async () => {
  expect(names(await list())).toBe('h0 h1 h2 h3')
  await vi.waitFor(() => expect(statusOf(4)).toBeUndefined(), WAIT)
  await finalWithout(4, 'without-h4')
  await newAccount(network.peer(4), 'through-h4')
  const { height } = network.peer(0).peer.chain.head
  await vi.waitFor(() => expect(network.peer(4).peer.chain.head.height).toBeGreaterThanOrEqual(height), WAIT)
}, 120_000)

test('a validator whose vote log was damaged votes again with a new key', async () => {
  const h3 = join(network.folder, 'h3')
  const log = join(h3, 'votes', 'votes.log')
  const config = join(h3, 'config.json')
  await writeFile(
    config,
    JSON.stringify({
      institution: 'h3',
      dataDir: '.',
      genesis: '../genesis.json',
      listen: ['/ip4/127.0.0.1/tcp/24100'],
      store: { capacity: '8 GiB' },
    }),
  )
  expect(await cli('peer', 'rotate-key', '--config', config)).toMatchObject({
    err: expect.stringContaining('STORE_FOLDER_IN_USE'),
  })
  await network.peer(3).close()
  const bytes = await readFile(log)
  bytes[20] = (bytes[20] ?? 0) ^ 1
  await writeFile(log, bytes)
  const halted = await network.startPeer(3)
  expect(halted.peer.consensus?.()).toMatchObject({ validates: false, halted: { code: 'VOTE_LOG_DAMAGED' } })
  await halted.close()

  const before = await consensusKey(3)
  const rotated = await cli('--json', 'peer', 'rotate-key', '--config', config)
  expect(rotated).toMatchObject({ status: 0, err: '' })
  const key = await consensusKey(3)
  expect(JSON.parse(rotated.out)).toMatchObject({ consensusKey: key, before })
  expect(key).not.toBe(before)
  expect(new Uint8Array(await readFile(join(h3, 'votes', `votes-${before.slice(0, 16)}.log`)))).toEqual(
    new Uint8Array(bytes),
  )
  expect(await readdir(h3)).toContain(`keys-${before.slice(0, 16)}.json`)

  const follows = await network.startPeer(3)
  expect(follows.peer.consensus?.()).toMatchObject({ validates: false, halted: { code: 'CONSENSUS_KEY_OTHER' } })
  const epoch = await decide('--rotate', `h3=${key}`)
  await vi.waitFor(() => expect(statusOf(3)).toMatchObject({ epoch, validates: true }), WAIT)
  expect(statusOf(3)?.halted).toBeUndefined()
  // Three of four must vote.
  await finalWithout(1, 'with-new-key')
  // Its new log holds over a restart.
  const again = await finalWithout(3, 'without-h3')
  await vi.waitFor(() => expect(again.peer.consensus?.()).toMatchObject({ validates: true }), WAIT)
}, 180_000)

test('a validator that voted twice in a view is suspended on the evidence of the others, and left out of the next epoch', async () => {
  const { config } = network.peer(2)
  await network.peer(2).close()
  const { consensus, peerSeed } = await openIdentity(config)
  const { chain } = network.peer(0).peer
  const set = chain.validators()
  if (set === undefined) throw new Error('no validators')
  const accused = await startHost({ privateKey: peerSeed, listen: [], members: members(), log: quiet })
  const streams = new ConsensusStreams({ host: accused, log: quiet, onMessage: () => undefined, mayJoin: () => true })
  try {
    await streams.start()
    const view = (statusOf(0)?.view ?? 0) + 1
    const votes = await Promise.all(
      [1, 2].map(async (block) => {
        const ballot = { epoch: set.epoch, view, kind: 'notarize', block: cborCid(new Uint8Array([block])) } as const
        return signVote(consensus, chain.id, set, ballot)
      }),
    )
    for (const index of [0, 1, 3]) {
      const to = network.peer(index).peer.host
      await accused.dial(multiaddr(String(to.getMultiaddrs()[0])))
      for (const vote of votes) streams.send(to.peerId.toString(), encodeMessage({ type: 'vote', vote }))
    }
    await vi.waitFor(async () => expect((await list()).suspended).toMatchObject([{ institution: 'h2', view }]), WAIT)
  } finally {
    await streams.stop()
    await accused.stop()
  }
  expect(names(await list())).toContain('h2')
  await decide()
  const answer = await list()
  expect(names(answer)).toBe('h0 h1 h3')
  expect(answer.leftOut).toMatchObject([{ institution: 'h2' }])
  const { out } = await cli('validators', 'list')
  expect(out).toContain('left out for evidence against them: h2')
  expect(out).toMatch(/h2 +view \d+ of epoch \d+ +height \d+ +[0-9a-f]{64}/)
  const back = await network.startPeer(2)
  await newAccount(back, 'through-h2')
  expect(back.peer.consensus?.()).toBeUndefined()
  expect(
    await cli('validators', 'propose', '--rotate', `h2=${await consensusKey(2)}`, ...withAdminKey(2)),
  ).toMatchObject({ status: 8, err: expect.stringContaining('MEMBERSHIP_KEY_SUSPENDED') })
}, 120_000)

function members(): () => ReadonlySet<string> {
  const { genesis } = network.peer(0).peer.chain
  const ids = new Set(genesis.institutions.flatMap((one) => one.peers.map(String)))
  return () => ids
}
