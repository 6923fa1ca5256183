/**
 * `npm run demo`: six institutions on this machine, started from peer-configs/demo, do the main job with real files.
 *
 * Everything is done by the commands that a user would type. Keys are made on the first run and lie in `.demo/`. With a
 * terminal the consortium stays up until Ctrl-C; without one it stops at the end.
 */
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { spawn } from 'node:child_process'
import { join, relative } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { CID } from 'multiformats/cid'
import { type Daemon, type Link, ROOT, cliFault, cliJson, runCli, startDaemon } from './daemon-process.ts'
import { demoInput } from './demo-input.ts'

const FOLDER = join(ROOT, '.demo')
const CONFIGS = join(ROOT, 'peer-configs/demo')
const GENESIS = join(FOLDER, 'genesis.json')
const OUT = join(FOLDER, 'fetched')
const PASSPHRASE = join(FOLDER, 'demo-passphrase')
const IPFS_KEY = join(FOLDER, 'plain-ipfs.key')
const INSTITUTIONS = [
  'north-hospital',
  'river-hospital',
  'imaging-centre',
  'insurer',
  'regulator',
  'research-institute',
] as const
type Institution = (typeof INSTITUTIONS)[number]

interface Put {
  readonly manifest: Link
  readonly content: Link
  readonly files: number
  readonly plaintextBytes: number
  readonly bytes: number
  readonly tookMs: number
  readonly placement: {
    readonly state: string
    readonly columns: number
    readonly held: number
    readonly survives: number
  }
}

interface Layout {
  /** Absent while there is no table. */
  readonly inForce?: {
    readonly layout: { readonly groups: number; readonly code: { readonly data: number; readonly parity: number } }
    readonly peers: readonly unknown[]
  }
}

const colour = process.stdout.isTTY && process.env['NO_COLOR'] === undefined
const bold = (text: string): string => (colour ? `\u001b[1m${text}\u001b[0m` : text)
const dim = (text: string): string => (colour ? `\u001b[2m${text}\u001b[0m` : text)
const green = (text: string): string => (colour ? `\u001b[32m${text}\u001b[0m` : text)

let step = 0
function heading(text: string): void {
  step++
  process.stdout.write(`\n${bold(`${step}. ${text}`)}\n`)
}
function say(label: string, text: string): void {
  process.stdout.write(`   ${dim(label.padEnd(20))} ${text}\n`)
}
function proof(text: string): void {
  process.stdout.write(`   ${green('✓')} ${text}\n`)
}

const mib = (bytes: number): string => `${(bytes / 1048576).toFixed(bytes < 10485760 ? 2 : 1)} MiB`
const rate = (bytes: number, ms: number): string => `${((bytes / ms) * 0.001).toFixed(1)} MB/s`

/** Arguments that make a command act at an institution. */
function at(institution: Institution, ...args: string[]): string[] {
  return [
    '--home',
    join(FOLDER, institution, 'home'),
    '--peer',
    join(FOLDER, institution),
    '--passphrase-file',
    PASSPHRASE,
    ...args,
  ]
}

const run = async <T>(institution: Institution, ...args: string[]): Promise<T & { tookMs: number }> =>
  cliJson<T>('dist', at(institution, ...args))

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

async function prepare(): Promise<void> {
  await mkdir(FOLDER, { recursive: true, mode: 0o700 })
  await rm(OUT, { recursive: true, force: true })
  if (!(await exists(PASSPHRASE)))
    await writeFile(PASSPHRASE, `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600 })
  if (await exists(GENESIS)) {
    say('keys', 'from an earlier run, in .demo/')
    return
  }
  for (const institution of INSTITUTIONS) {
    const identity = await cliJson<{ peer: string }>('dist', [
      'peer',
      'init',
      '--config',
      join(CONFIGS, `${institution}.json`),
    ])
    say(institution, `keys made, peer ${identity.peer}`)
  }
  const plain = (await plainIpfs('id')).trim()
  say('plain IPFS program', `peer ${plain}, admitted for research-institute`)
  const identities = INSTITUTIONS.map((institution) => join(FOLDER, institution, 'identity.json'))
  const template = join(CONFIGS, 'genesis.template.json')
  const extra = ['--extra-peer', `research-institute=${plain}`]
  const genesis = await cliJson<{ chain: string }>('dist', [
    'network',
    'create',
    template,
    ...identities,
    '--out',
    GENESIS,
    ...extra,
  ])
  say('chain', genesis.chain)
}

async function startAll(): Promise<Map<Institution, Daemon>> {
  const daemons = new Map<Institution, Daemon>()
  const starting = INSTITUTIONS.map(async (institution) => {
    const log = join(FOLDER, institution, 'daemon.log')
    daemons.set(institution, await startDaemon('dist', join(CONFIGS, `${institution}.json`), { log }))
  })
  const started = await Promise.allSettled(starting)
  const failed = started.find((one) => one.status === 'rejected')
  if (failed !== undefined) {
    await stopAll(daemons)
    throw failed.reason as Error
  }
  for (const institution of INSTITUTIONS) {
    const daemon = daemons.get(institution)
    if (daemon !== undefined)
      say(institution, `API ${daemon.api}, listening after ${(daemon.startedMs / 1000).toFixed(1)} s`)
  }
  // Connected before the job begins: each peer to all others.
  for (const institution of INSTITUTIONS) await connected(institution)
  proof(`six peers, each connected to the other five over TLS`)
  return daemons
}

/** Each peer offers its room by itself; one of them makes the table, and all check it. */
async function placementTable(): Promise<void> {
  heading('Each peer offers room; the ledger agrees on who holds what')
  const until = Date.now() + 60_000
  for (;;) {
    const layout = await run<Layout>('regulator', 'network', 'layout').catch(() => undefined)
    const table = layout?.inForce
    if (table?.peers.length === INSTITUTIONS.length) {
      const { code, groups } = table.layout
      const { data, parity } = code
      say('table', `${groups} placement groups over ${INSTITUTIONS.length} institutions`)
      proof(
        `every object becomes ${data} + ${parity} columns on ${data + parity} institutions; any ${data} of them rebuild it`,
      )
      return
    }
    if (Date.now() > until) throw new Error('there is no placement table of six peers; see .demo/*/daemon.log')
  }
}

async function connected(institution: Institution): Promise<void> {
  const until = Date.now() + 30_000
  for (;;) {
    const status = await run<{ members: { connected: boolean }[] }>(institution, 'peer', 'status')
    if (status.members.filter((one) => one.connected).length >= INSTITUTIONS.length - 1) return
    if (Date.now() > until)
      throw new Error(`${institution} did not reach the other peers; see .demo/${institution}/daemon.log`)
  }
}

async function stopAll(daemons: ReadonlyMap<Institution, Daemon>): Promise<void> {
  await Promise.all([...daemons.values()].map(async (daemon) => daemon.stop()))
}

/** An account's id; made and registered on the first run. */
async function account(institution: Institution, name: string): Promise<string> {
  const keystore = join(FOLDER, institution, 'home', 'keys', `${name}.json`)
  if (await exists(keystore)) return (await run<{ account: string }>(institution, 'key', 'show', name)).account
  const made = await run<{ account: string; height: number }>(institution, 'key', 'create', name)
  say(name, `${made.account} ${dim(`registered by ${institution}, height ${made.height}`)}`)
  return made.account
}

async function store(institution: Institution, as: string, what: string, path: string): Promise<Put> {
  const put = await run<Put>(institution, 'put', path, '--as', as)
  say(
    what,
    `${put.files} file${put.files === 1 ? '' : 's'}, ${mib(put.plaintextBytes)} in ${(put.tookMs / 1000).toFixed(2)} s, ${rate(put.plaintextBytes, put.tookMs)}`,
  )
  const { columns, held, survives } = put.placement
  say(
    '  placed',
    `${held} of ${columns} columns confirmed, each at another institution: survives any ${survives} failing`,
  )
  say('  object', put.manifest['/'])
  say('  sealed content', put.content['/'])
  return put
}

interface Kept {
  readonly record: string
  readonly original: string
}

interface RecordAdded {
  readonly record: string
  readonly height: number
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

/** Names and hashes of the files below a path. */
async function hashesBelow(path: string): Promise<Map<string, string>> {
  if ((await stat(path)).isFile()) return new Map([['', await sha256Of(path)]])
  const found = new Map<string, string>()
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name)
    if (entry.isFile()) found.set(relative(path, file), await sha256Of(file))
  }
  return found
}

async function sameFiles(original: string, copy: string): Promise<number> {
  const [one, other] = await Promise.all([hashesBelow(original), hashesBelow(copy)])
  for (const [name, hash] of one) {
    if (other.get(name) !== hash) throw new Error(`the fetched copy differs at file "${name}"`)
  }
  if (one.size !== other.size) throw new Error('the fetched copy has other files')
  return one.size
}

async function plainIpfs(...args: string[]): Promise<string> {
  const child = spawn(process.execPath, [join(ROOT, 'scripts/plain-ipfs.ts'), IPFS_KEY, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece
  })
  const status = await new Promise((resolve) => child.once('close', resolve))
  if (status !== 0) throw new Error('the plain IPFS program failed')
  return text
}

/** Changes one bit of a block on the disk of an institution that holds it for the network. @returns how to undo it. */
async function alterAtHolder(
  cid: CID,
): Promise<{ readonly institution: Institution; readonly undo: () => Promise<void> }> {
  // Who stored it has it too, and isn't who is asked for it.
  for (const institution of INSTITUTIONS.toSorted((one) => (one === 'imaging-centre' ? 1 : -1))) {
    const undo = await alterOnDisk(institution, cid)
    if (undo !== undefined) return { institution, undo }
  }
  throw new Error(`the block ${cid.toString()} is on no disk`)
}

/** @returns how to undo it; `undefined`: the block isn't there. */
async function alterOnDisk(institution: Institution, cid: CID): Promise<(() => Promise<void>) | undefined> {
  const folder = join(FOLDER, institution, 'blocks', 'packs')
  for (const name of await readdir(folder)) {
    // A record in a pack begins with a head that holds the block's digest; the block follows.
    const start = (await readFile(join(folder, name))).indexOf(cid.multihash.digest)
    if (start < 0 || !name.endsWith('.pack')) continue
    const flip = async (): Promise<void> => {
      const handle = await open(join(folder, name), 'r+')
      const byte = Buffer.alloc(1)
      await handle.read(byte, 0, 1, start + 1_000)
      byte[0] = (byte[0] ?? 0) ^ 1
      await handle.write(byte, 0, 1, start + 1_000)
      await handle.close()
    }
    await flip()
    return flip
  }
  return undefined
}

async function mainJob(daemons: Map<Institution, Daemon>): Promise<void> {
  const input = await demoInput()
  await placementTable()

  heading('Accounts: pseudonyms on the ledger, keys only with their owners')
  const patient = await account('north-hospital', 'patient')
  await account('imaging-centre', 'radiology')
  await account('north-hospital', 'theatre')
  const researcher = await account('research-institute', 'researcher')
  const assessor = await account('insurer', 'assessor')

  heading('Real studies are sealed, stored as IPFS blocks, coded, and spread over the institutions')
  const series = await store('imaging-centre', 'radiology', 'MR series', input.series)
  const angiography = await store('imaging-centre', 'radiology', 'angiography', input.angiography)
  const video = await store('north-hospital', 'theatre', 'video', input.video)

  heading('The ledger agrees on blocks that name them; headers are gossiped')
  const add = async (institution: Institution, as: string, object: Put, category: string): Promise<RecordAdded> => {
    const added = await run<RecordAdded>(
      institution,
      'record',
      'add',
      object.manifest['/'],
      '--patient',
      patient,
      '--category',
      category,
      '--as',
      as,
    )
    say(category, `${added.record} ${dim(`final at height ${added.height}`)}`)
    return added
  }
  const records = [
    { record: await add('imaging-centre', 'radiology', series, 'imaging'), original: input.series, out: 'series' },
    {
      record: await add('imaging-centre', 'radiology', angiography, 'imaging'),
      original: input.angiography,
      out: 'angiography.dcm',
    },
    { record: await add('north-hospital', 'theatre', video, 'surgery'), original: input.video, out: 'video' },
  ]
  for (const institution of INSTITUTIONS) {
    const height = Math.max(...records.map((one) => one.record.height))
    const until = Date.now() + 15_000
    let status = await run<{ height: number }>(institution, 'peer', 'status')
    while (status.height < height && Date.now() < until) status = await run(institution, 'peer', 'status')
    if (status.height < height) throw new Error(`${institution} stayed at height ${status.height}`)
  }
  proof('three of four validators signed each block; all six peers executed them, and hold the same state')

  heading('The patient grants the research institute each record, for research, for 90 days')
  for (const { record } of records) {
    const granted = await run<{ height: number }>(
      'north-hospital',
      'consent',
      'grant',
      record.record,
      '--to',
      researcher,
      '--purpose',
      'HRESCH',
      '--for',
      '90d',
      '--as',
      'patient',
    )
    say(record.record.slice(0, 20), `granted, final at height ${granted.height}`)
  }

  heading('The research institute fetches from the other institutions and opens what it was granted')
  for (const { record, original, out } of records) {
    const path = join(OUT, 'research-institute', out)
    const got = await run<{ bytes: number; files: number }>(
      'research-institute',
      'get',
      record.record,
      '--out',
      path,
      '--as',
      'researcher',
    )
    const files = await sameFiles(original, path)
    proof(
      `${out}: ${files} file${files === 1 ? '' : 's'}, ${mib(got.bytes)} at ${rate(got.bytes, got.tookMs)}, byte for byte the original`,
    )
  }

  heading('The insurer, without a grant, gets ciphertext and nothing else')
  const [first, second] = records
  if (first === undefined || second === undefined) throw new Error('no record')
  const refused = await cliFault('dist', at('insurer', 'get', first.record.record, '--as', 'assessor'))
  proof(`opening is refused: ${refused.sentence} ${dim(`[${refused.fault}, exit ${refused.status}]`)}`)
  const sealed = join(OUT, 'insurer', 'angiography.sealed')
  await run('insurer', 'get', angiography.content['/'], '--sealed', '--out', sealed)
  const bytes = await readFile(sealed)
  const plain = await readFile(input.angiography)
  if (bytes.includes(plain.subarray(128, 160)) || bytes.includes('DICM')) throw new Error('plaintext in the ciphertext')
  proof(`--sealed gives ${mib(bytes.length)} of ciphertext, checked against ${angiography.content['/']}`)
  say('assessor', `${assessor.slice(0, 20)}… has no grant`)

  heading('A plain Helia client, with none of our code, fetches the same CID')
  const plainOut = join(OUT, 'plain-ipfs.sealed')
  const addresses = [...daemons.values()].flatMap((daemon) => daemon.addresses.slice(0, 1))
  const started = performance.now()
  await plainIpfs('get', addresses.join(','), angiography.content['/'], plainOut)
  if ((await sha256Of(plainOut)) !== (await sha256Of(sealed))) throw new Error('the plain IPFS program got other bytes')
  proof(
    `by bitswap over Noise, in ${((performance.now() - started) / 1000).toFixed(1)} s: the same ciphertext as a file`,
  )

  heading('An altered block is refused, and made up for by the others')
  const { institution: holder, undo } = await alterAtHolder(await firstLeaf(angiography.content['/']))
  const around = join(OUT, 'insurer', 'around.sealed')
  await run('insurer', 'get', angiography.content['/'], '--sealed', '--out', around)
  await undo()
  if ((await sha256Of(around)) !== (await sha256Of(sealed))) throw new Error('altered bytes were served')
  proof(`one bit changed on the disk of ${holder}: the block was refused by its hash, and rebuilt from other columns`)

  const kept = { record: second.record.record, original: second.original }
  await institutionsFail(daemons, { angiography: kept, grant: { record: first.record.record, researcher } })
  await offlineProof(first.record.record)
}

/** Two institutions of six are killed, one of them a validator; the others go on, and they come back by themselves. */
async function institutionsFail(
  daemons: Map<Institution, Daemon>,
  {
    angiography,
    grant,
  }: { readonly angiography: Kept; readonly grant: { readonly record: string; readonly researcher: string } },
): Promise<void> {
  heading('Two institutions are killed, one of them a validator: the others go on')
  const killed = ['regulator', 'insurer'] as const
  await Promise.all(killed.map(async (one) => daemons.get(one)?.stop('SIGKILL')))
  say('killed', killed.join(', '))
  const args = ['--to', grant.researcher, '--purpose', 'TREAT', '--for', '30d', '--as', 'patient']
  const granted = await run<{ height: number }>('north-hospital', 'consent', 'grant', grant.record, ...args)
  proof(
    `a grant became final at height ${granted.height} without them, ${(granted.tookMs / 1000).toFixed(2)} s after it was typed`,
  )
  const path = join(OUT, 'research-institute', 'without-two.dcm')
  await run('research-institute', 'get', angiography.record, '--out', path, '--as', 'researcher')
  await sameFiles(angiography.original, path)
  proof('the angiography still reads, byte for byte, from those that are left')
  const started = performance.now()
  for (const one of killed) {
    const log = join(FOLDER, one, 'daemon.log')
    daemons.set(one, await startDaemon('dist', join(CONFIGS, `${one}.json`), { log }))
  }
  const until = Date.now() + 30_000
  let status = await run<{ height: number }>('regulator', 'peer', 'status')
  while (status.height < granted.height && Date.now() < until) status = await run('regulator', 'peer', 'status')
  if (status.height < granted.height) throw new Error(`regulator stayed at height ${status.height}`)
  proof(`started again, they hold height ${status.height} after ${((performance.now() - started) / 1000).toFixed(1)} s`)
  const { stdout } = await runCli('dist', at('river-hospital', 'status'))
  process.stdout.write(stdout.replaceAll(/^(?=.)/gm, '   '))
}

/** A proof that needs no server. */
async function offlineProof(record: string): Promise<void> {
  heading('A court checks a record with no server: a file, and the name of the chain')
  const file = join(OUT, 'record.proof')
  await run('river-hospital', 'ledger', 'proof', 'record', record, '--out', file)
  const { chain } = await run<{ chain: string }>('river-hospital', 'peer', 'status')
  const { stdout } = await runCli('dist', ['ledger', 'check', file, '--chain', chain])
  process.stdout.write(stdout.replaceAll(/^(?=.)/gm, '   '))
  const bytes = await readFile(file)
  proof(`${bytes.length} bytes prove it`)
  // In the way from the record to the state root.
  const altered = bytes.length - 100
  bytes[altered] = (bytes[altered] ?? 0) ^ 1
  const forged = join(OUT, 'forged.proof')
  await writeFile(forged, bytes)
  const refused = await cliFault('dist', ['ledger', 'check', forged, '--chain', chain])
  proof(`with one bit changed: ${refused.sentence} ${dim(`[${refused.fault}, exit ${refused.status}]`)}`)
}

/** The first leaf of a stored file, read from the demo's own API. */
async function firstLeaf(root: string): Promise<CID> {
  const cid = CID.parse(root)
  if (cid.code === 0x55) return cid
  const api = JSON.parse(await readFile(join(FOLDER, 'imaging-centre', 'api.json'), 'utf8')) as {
    url: string
    token: string
  }
  const answer = await fetch(`${api.url}/api/v1/blocks/${root}`, { headers: { authorization: `Bearer ${api.token}` } })
  const { decode } = await import('@ipld/dag-pb')
  const link = decode(new Uint8Array(await answer.arrayBuffer())).Links[0]
  if (link === undefined) throw new Error('the file has no leaves')
  return link.Hash
}

async function main(): Promise<void> {
  const began = Date.now()
  process.stdout.write(
    `${bold('Apotheca demo')}: two hospitals, an imaging centre, an insurer, a regulator, a research institute\n`,
  )
  heading('Keys and genesis')
  await prepare()
  heading('Six peers start')
  const daemons = await startAll()
  let stopping = false
  const stop = async (): Promise<void> => {
    if (stopping) return
    stopping = true
    await stopAll(daemons)
  }
  process.once('SIGINT', () => void stop().then(() => process.exit(0)))
  process.once('SIGTERM', () => void stop().then(() => process.exit(0)))
  try {
    await mainJob(daemons)
  } catch (error) {
    await stop()
    throw error
  }
  process.stdout.write(
    `\n${bold('Done')} in ${((Date.now() - began) / 1000).toFixed(0)} s. Fetched files: .demo/fetched/  Logs: .demo/*/daemon.log\n`,
  )
  if (!process.stdin.isTTY || !process.stdout.isTTY) {
    await stop()
    return
  }
  process.stdout.write('\nThe consortium stays up. Try, in another terminal:\n')
  process.stdout.write(`  npx apotheca --peer .demo/river-hospital peer status\n`)
  for (const [institution, daemon] of daemons) say(institution, `${daemon.api}  ${daemon.addresses[0] ?? ''}`)
  process.stdout.write('\nCtrl-C stops it.\n')
  await Promise.all([...daemons.values()].map(async (daemon) => daemon.ended))
}

try {
  await main()
} catch (error) {
  process.stderr.write(`\n${bold('The demo failed')}: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
