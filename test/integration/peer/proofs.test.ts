/** Proofs, receipts and figures as an operator or a court gets them: a real peer, the CLI as its own process. */
import { execFile } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { CliAccount } from '../../../src/cli/account.ts'
import { submitTx } from '../../../src/cli/submit.ts'
import type { ConsensusStatus } from '../../../src/consensus/status.ts'
import { type AccountId, type RecordId, accountIdOf, parseInstitutionId, recordIdOf } from '../../../src/core/ids.ts'
import { cborCid } from '../../../src/crypto/hash.ts'
import { wrapKey } from '../../../src/crypto/envelope.ts'
import { draftRecordAdd, draftRecordAmend, recordIdOfTx, recordKeyContext } from '../../../src/domain/records.ts'
import { startGateway } from '../../../src/gateway/server.ts'
import { checkProof } from '../../../src/ledger/proof.ts'
import type { PeerStatus } from '../../../src/peer/peer.ts'
import { TestNetwork, type TestPeer, newAccount } from './network.ts'

const CLI = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url))
const TOKEN = 'test-token-of-thirty-two-characters!'
const NOBODY = accountIdOf(new Uint8Array(32))

let network: TestNetwork
let at: TestPeer
let folder: string
let patient: CliAccount
let record: RecordId
let amended: string

beforeAll(async () => {
  network = await TestNetwork.start({ peers: 1 })
  at = network.peer(0)
  folder = join(network.folder, 'cli')
  await mkdir(folder)
  await writeFile(join(folder, 'api.json'), JSON.stringify({ url: at.gateway.url, token: TOKEN }))
  patient = await newAccount(at, 'patient')
  const signal = AbortSignal.timeout(20_000)
  const manifest = cborCid(new Uint8Array([1]))
  const key = await wrapKey(patient.encryption, new Uint8Array(32), recordKeyContext({ patient: patient.id, manifest }))
  const draft = draftRecordAdd({ patient: patient.id, category: 'imaging', manifest, key })
  const { tx } = await submitTx(at.client, patient, draft, { signal })
  record = recordIdOfTx(tx)
  amended = (await submitTx(at.client, patient, draftRecordAmend({ record, manifest, key }), { signal })).tx
}, 60_000)
afterAll(async () => network[Symbol.asyncDispose]())

interface Ran {
  readonly status: number
  readonly out: string
  readonly err: string
}

/** Runs the CLI; with no `--peer`, there is none that it could ask. */
async function cli(args: readonly string[], peer: string = folder): Promise<Ran> {
  return new Promise((resolve) => {
    const options = { env: { ...process.env, APOTHECA_PEER: peer, NO_COLOR: '1' } }
    execFile(process.execPath, [CLI, ...args], options, (error, out, err) => {
      resolve({ status: typeof error?.code === 'number' ? error.code : 0, out, err })
    })
  })
}

const file = (name: string): string => join(folder, name)
const nowhere = (): string => join(network.folder, 'no-peer-here')

test('a record is proved with its versions in one file, which is checked with no peer', async () => {
  const made = await cli(['ledger', 'proof', 'record', record, '--out', file('record.proof')])
  expect(made).toMatchObject({ status: 0, err: '' })
  const checked = await cli(['ledger', 'check', file('record.proof'), '--chain', at.peer.chain.id], nowhere())
  expect(checked).toMatchObject({ status: 0, err: '' })
  for (const text of [
    `record ${record}`,
    `version 2 of ${record}`,
    'imaging',
    at.peer.chain.id,
    'h0 (1 of 1 validators)',
  ])
    expect(checked.out).toContain(text)
  const again = await cli(['ledger', 'proof', 'record', record, '--out', file('record.proof')])
  expect(again).toMatchObject({ status: 8, err: expect.stringContaining('OUTPUT_EXISTS') })
})

test('a check by the genesis file says the same, and JSON for programs', async () => {
  const genesis = join(network.folder, 'genesis.json')
  await cli(['ledger', 'proof', 'account', patient.id, '--out', file('account.proof')])
  const { out, status } = await cli(
    ['--json', 'ledger', 'check', file('account.proof'), '--genesis', genesis],
    nowhere(),
  )
  expect(status).toBe(0)
  expect(JSON.parse(out)).toMatchObject({
    chain: at.peer.chain.id,
    signers: ['h0'],
    proved: { kind: 'state', entries: [{ namespace: 'account', present: true, value: { kind: 'person', org: 'h0' } }] },
  })
})

test('what the ledger does not hold is proved to be absent', async () => {
  const { out, status } = await cli([
    'ledger',
    'proof',
    'account',
    NOBODY satisfies AccountId,
    '--out',
    file('no.proof'),
  ])
  expect(status).toBe(0)
  expect(out).toMatch(new RegExp(`absent +account ${NOBODY}`))
})

test('a transaction, a state entry and a block are proved', async () => {
  const proofs = [
    ['tx', [amended], 'record.amend'],
    ['state', ['institution', Buffer.from('h0').toString('hex')], 'written'],
    ['block', ['1'], 'a block is final'],
  ] as const
  await Promise.all(
    proofs.map(async ([kind, names, text]) => {
      const out = file(`${kind}.proof`)
      expect(await cli(['ledger', 'proof', kind, ...names, '--out', out])).toMatchObject({ status: 0, err: '' })
      const checked = await cli(['ledger', 'check', out, '--chain', at.peer.chain.id], nowhere())
      expect(checked).toMatchObject({ status: 0, out: expect.stringContaining(text) })
    }),
  )
})

test('a proof that was altered, cut, or is of another chain is refused with a code and status 5', async () => {
  const out = file('block.proof')
  const bytes = await readFile(out)
  const altered = Buffer.from(bytes)
  altered[bytes.length - 40] = (altered[bytes.length - 40] ?? 0) ^ 1
  await writeFile(file('altered.proof'), altered)
  await writeFile(file('cut.proof'), bytes.subarray(0, -1))
  await writeFile(file('large.proof'), Buffer.alloc(3 * 1024 * 1024))
  const check = (name: string, chain: string = at.peer.chain.id): Promise<Ran> =>
    cli(['ledger', 'check', file(name), '--chain', chain], nowhere())
  const refused = { status: 5, out: '', err: expect.stringMatching(/\[PROOF_[A-Z_]+\]/) }
  const answers = await Promise.all(['altered.proof', 'cut.proof', 'large.proof'].map(async (name) => check(name)))
  for (const answer of answers) expect(answer).toMatchObject(refused)
  const other = await check('block.proof', cborCid(new Uint8Array([2])).toString())
  expect(other).toMatchObject({ status: 5, err: expect.stringContaining('[PROOF_OTHER_CHAIN]') })
  expect(await cli(['ledger', 'check', out], nowhere())).toMatchObject({ status: 2 })
  expect(await check('missing.proof')).toMatchObject({ status: 2, err: expect.stringContaining('ENOENT') })
})

test('asking for what there is not, or in the wrong words, ends with its own status', async () => {
  const asked: readonly (readonly [number, ...string[]])[] = [
    [3, 'tx', `tx1${NOBODY.slice(4)}`],
    [3, 'block', '999999'],
    [2, 'block', '0'],
    [2, 'state', 'account'],
    [2, 'state', 'account', 'xyz'],
    [2, 'nothing', 'x'],
  ]
  const ran = asked.map(async ([, ...words]) => cli(['ledger', 'proof', ...words, '--out', file('never.proof')]))
  expect((await Promise.all(ran)).map(({ status }) => status)).toEqual(asked.map(([status]) => status))
})

test('tx wait and tx show tell what became of a transaction, a refusal by its code and status', async () => {
  const signal = AbortSignal.timeout(20_000)
  const manifest = cborCid(new Uint8Array([3]))
  const key = await wrapKey(patient.encryption, new Uint8Array(32), recordKeyContext({ patient: patient.id, manifest }))
  const none = recordIdOf(new Uint8Array(32))
  await expect(
    submitTx(at.client, patient, draftRecordAmend({ record: none, manifest, key }), { signal }),
  ).rejects.toMatchObject({ fault: { code: 'TX_REFUSED' } })
  const { height } = at.peer.chain.head
  const refused = (await at.peer.chain.reader.receiptsAt(height))?.find((one) => !one.ok)?.tx ?? ''
  for (const words of [
    ['wait', refused, '--timeout', '5'],
    ['show', refused],
  ]) {
    const ran = await cli(['tx', ...words])
    expect(ran).toMatchObject({ status: 3, out: expect.stringMatching(/refused: .+\[RECORD_UNKNOWN\]/) })
  }
  expect(await cli(['tx', 'wait', amended])).toMatchObject({ status: 0, out: expect.stringContaining('done') })
  const unknown = `tx1${NOBODY.slice(4)}`
  expect(await cli(['tx', 'wait', unknown, '--timeout', '1'])).toMatchObject({
    status: 6,
    err: expect.stringContaining('TX_NOT_FINAL'),
  })
  expect(await cli(['tx', 'show', unknown])).toMatchObject({ status: 3 })
})

test('a proof over HTTP needs the token, and is checked by what it proves', async () => {
  const url = `${at.gateway.url}/api/v1/ledger/proofs/accounts/${patient.id}`
  expect((await fetch(url)).status).toBe(401)
  const answer = await fetch(url, { headers: { authorization: `Bearer ${TOKEN}` } })
  expect(answer.headers.get('content-type')).toBe('application/vnd.ipld.dag-cbor')
  const { proved } = checkProof(await answer.bytes(), { chainId: at.peer.chain.id })
  expect(proved).toMatchObject({ kind: 'state', entries: [{ present: true }] })
})

test('metrics need the token, and say how ledger, mempool, members and store are', async () => {
  const url = `${at.gateway.url}/metrics`
  expect((await fetch(url)).status).toBe(401)
  const answer = await fetch(url, { headers: { authorization: `Bearer ${TOKEN}` } })
  expect(answer.headers.get('content-type')).toContain('text/plain')
  const text = await answer.text()
  expect(text).toContain(`apotheca_ledger_height ${at.peer.chain.head.height}\n`)
  for (const lane of [0, 1, 2, 3]) expect(text).toContain(`apotheca_mempool_transactions{lane="${lane}"} 0\n`)
  expect(text).toMatch(/apotheca_block_final_seconds_count [1-9]/)
  for (const name of [
    'process_resident_bytes',
    'members_connected',
    'store_blocks',
    'store_bytes',
    'ledger_block_view',
  ])
    expect(text).toMatch(new RegExp(`^apotheca_${name} \\d`, 'm'))
  // Every line is one of Prometheus' text form.
  for (const line of text.trim().split('\n'))
    expect(line).toMatch(/^(?:# (?:HELP|TYPE) .+|[a-z_]+(?:\{[^}]*\})? [-+\d.e]+|)$/i)
})

test('a validator that takes part in consensus shows it in status and metrics', async () => {
  const city = parseInstitutionId('h0')
  const silent = parseInstitutionId('h1')
  const consensus: ConsensusStatus = {
    epoch: 0,
    view: 41,
    leader: city,
    height: 7,
    finalTimeMs: 1_000,
    validates: true,
    pendingBlocks: 2,
    waitsFor: 'votes',
    missing: [{ institution: silent, silentSinceMs: 5_000 }],
    stalledSinceMs: 6_000,
    quorum: 3,
  }
  const clock = { nowMs: () => Date.now() }
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
  const peer = { ...at.peer, consensus: () => consensus }
  const gateway = await startGateway({ peer, clock, log }, { host: '127.0.0.1', port: 0, token: TOKEN })
  try {
    const headers = { authorization: `Bearer ${TOKEN}` }
    const status = (await (await fetch(`${gateway.url}/api/v1/status`, { headers })).json()) as PeerStatus
    expect(status.consensus).toEqual(consensus)
    const text = await (await fetch(`${gateway.url}/metrics`, { headers })).text()
    for (const line of [
      'apotheca_consensus_view 41',
      'apotheca_consensus_pending_blocks 2',
      'apotheca_consensus_halted 0',
      'apotheca_consensus_stalled_since_seconds 6',
      'apotheca_consensus_silent_since_seconds{institution="h1"} 5',
      'apotheca_consensus_leader{institution="h0"} 1',
    ])
      expect(text.split('\n')).toContain(line)
  } finally {
    await gateway.close()
  }
})

test('peer status says where the ledger stands', async () => {
  const { out, status } = await cli(['peer', 'status'])
  expect(status).toBe(0)
  expect(out).toMatch(/ledger +height \d+, final \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, \d+ s ago\n/)
  expect(out).toMatch(/view +\d+ of epoch 0/)
})
