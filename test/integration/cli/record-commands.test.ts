/** `record`, `consent` and `erase` as a user runs them: the CLI as its own process, its peers in this one. Steps of one story, in this order. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { EXIT } from '../../../src/core/coded-error.ts'
import { TestNetwork } from '../peer/network.ts'

const CLI = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url))
const TOKEN = 'test-token-of-thirty-two-characters!'

interface Ran {
  readonly status: number
  readonly err: string
  /** What `--json` printed. */
  readonly said: Record<string, unknown>
}

let network: TestNetwork
let folder: string
const accounts: Record<string, string> = {}
/** Objects, and the files that they are of. */
const objects: string[] = []
let record: string

async function cli(...args: readonly string[]): Promise<Ran> {
  const home = ['--home', folder, '--peer', folder, '--passphrase-file', join(network.folder, 'h0', 'passphrase')]
  return new Promise((resolve) => {
    execFile(process.execPath, [CLI, '--json', ...home, ...args], (error, out, err) => {
      const said = out.startsWith('{') ? (JSON.parse(out) as Record<string, unknown>) : {}
      resolve({ status: typeof error?.code === 'number' ? error.code : 0, err, said })
    })
  })
}

/** Runs what must succeed. */
async function done(...args: readonly string[]): Promise<Record<string, unknown>> {
  const { err, said, status } = await cli(...args)
  expect([args.join(' '), status, status === 0 ? '' : err]).toEqual([args.join(' '), 0, ''])
  return said
}

const fileOf = (index: number): string => join(folder, `scan-${index}.dcm`)

beforeAll(async () => {
  network = await TestNetwork.start({ peers: 4, idleIntervalMs: 500 })
  folder = join(network.folder, 'cli')
  await mkdir(folder)
  await writeFile(join(folder, 'api.json'), JSON.stringify({ url: network.peer(0).gateway.url, token: TOKEN }))
  for (const name of ['alice', 'radiology', 'lab']) {
    const { account } = await done('key', 'create', name, '--wrap', 'x25519')
    accounts[name] = String(account)
  }
  for (let index = 0; index < 2; index++) {
    await writeFile(fileOf(index), randomBytes(1_000))
    const { manifest } = await done('put', fileOf(index), '--as', 'radiology')
    objects.push((manifest as { '/': string })['/'])
  }
}, 120_000)
afterAll(async () => network[Symbol.asyncDispose]())

test('a record is added and amended, each version under its number', async () => {
  const [first = '', second = ''] = objects
  const patient = accounts['alice'] ?? ''
  const added = await done('record', 'add', first, '--patient', patient, '--category', 'imaging', '--as', 'radiology')
  expect(added).toMatchObject({ version: 1 })
  record = String(added['record'])
  expect(await done('record', 'amend', record, second, '--as', 'radiology')).toMatchObject({ record, version: 2 })
  expect(await done('record', 'amend', record, first, '--as', 'radiology')).toMatchObject({ record, version: 3 })
})

test('a list says how many versions a record has, and the record shows them, all without keys', async () => {
  expect(await done('record', 'list', '--as', 'alice')).toMatchObject({ records: [{ id: record, versions: 3 }] })
  const { versions } = (await done('record', 'show', record)) as { versions: { version: number }[] }
  expect(versions.map((one) => one.version)).toEqual([1, 2, 3])
  expect(JSON.stringify(versions)).not.toContain('"key"')
})

test('a version is granted and got by its number, the newest without one', async () => {
  const to = ['--to', accounts['lab'] ?? '', '--purpose', 'HRESCH', '--as', 'alice']
  expect(await done('consent', 'grant', record, ...to, '--version-number', '2')).toMatchObject({ version: 2 })
  const out = join(folder, 'second')
  await done('get', record, '--version-number', '2', '--as', 'lab', '--out', out)
  expect((await readFile(out)).equals(await readFile(fileOf(1)))).toBe(true)
  const refused = await cli('get', record, '--as', 'lab', '--out', join(folder, 'no'))
  expect([refused.status, refused.err]).toEqual([EXIT.denied, expect.stringContaining('KEY_NOT_GRANTED')])
  expect(await done('consent', 'grant', record, ...to)).toMatchObject({ version: 3 })
  await done('get', record, '--as', 'lab', '--out', join(folder, 'third'))
  expect((await readFile(join(folder, 'third'))).equals(await readFile(fileOf(0)))).toBe(true)
  expect(await done('consent', 'list', '--as', 'lab')).toMatchObject({ grants: [{ version: 2 }, { version: 3 }] })
  expect(await done('verify', record, '--as', 'lab')).toMatchObject({ onLedger: { record, version: 3 } })
})

test.each([
  ['4', EXIT.notFound, 'RECORD_VERSION_UNKNOWN'],
  ['0', EXIT.notFound, 'RECORD_VERSION_UNKNOWN'],
  ['x', EXIT.usage, 'a whole number is needed'],
])('version number %s is refused for what it is', async (number, status, words) => {
  const to = ['--to', accounts['lab'] ?? '', '--purpose', 'HRESCH', '--as', 'alice']
  for (const args of [
    ['consent', 'grant', record, ...to],
    ['get', record, '--as', 'alice', '--out', join(folder, 'none')],
  ]) {
    const ran = await cli(...args, '--version-number', number)
    expect([ran.status, ran.err]).toEqual([status, expect.stringContaining(words)])
  }
})

test('a patient has the newest object of a record erased, by all versions that name it', async () => {
  const erased = await done('erase', record, '--as', 'alice')
  expect(erased['manifest']).toEqual({ '/': objects[0] })
})
