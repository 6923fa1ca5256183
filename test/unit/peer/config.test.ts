import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { toString } from 'uint8arrays/to-string'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { configDoc } from '../../../scripts/config-doc.ts'
import { faultSentence } from '../../../src/core/coded-error.ts'
import { CONFIG_BYTES_MAX } from '../../../src/core/limits.ts'
import { generateEncryptionKey } from '../../../src/crypto/envelope.ts'
import { generateSigningKey } from '../../../src/crypto/signatures.ts'
import { peerIdText } from '../../../src/p2p/peer-ids.ts'
import { parseSize } from '../../../src/core/size.ts'
import { describePeerConfigOptions } from '../../../src/peer/config-schema.ts'
import { ConfigError, type ConfigFault, loadPeerConfig, parsePeerConfig } from '../../../src/peer/config.ts'
import { configFaults } from '../../../src/peer/config-faults.ts'
import type { PublicIdentity } from '../../../src/peer/identity.ts'
import { makeGenesis } from '../../../src/peer/network.ts'

const DEMO = ['north-hospital', 'river-hospital', 'imaging-centre', 'insurer', 'regulator', 'research-institute']
const FILE = '/etc/apotheca/north.json'
const TOP_LEVEL =
  'one of institution, dataDir, genesis, passphraseFile, listen, announce, members, encrypters, api, store, uploads, ledger, log'
const LEAST = `{
  // The least that a peer needs.
  "institution": "north-hospital",
  "dataDir": "data",
  "genesis": "../genesis.json",
  "listen": ["/ip4/127.0.0.1/tcp/0"],
}`

type Invalid = Extract<ConfigFault, { code: 'CONFIG_INVALID' }>

function problemsOf(text: string): readonly Invalid[] {
  try {
    parsePeerConfig(text, FILE)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems as readonly Invalid[]
    throw error
  }
  throw new Error('the config was accepted')
}

/** LEAST with more lines before its end. */
const withLines = (...lines: string[]): string => LEAST.replace(/\}$/, `${lines.join('\n')}\n}`)
const theProblem = (text: string): Invalid => {
  const problems = problemsOf(text)
  expect(problems).toHaveLength(1)
  return problems[0] as Invalid
}

test('the least config gets every default, with absolute paths', () => {
  expect(parsePeerConfig(LEAST, FILE)).toEqual({
    institution: 'north-hospital',
    dataDir: '/etc/apotheca/data',
    genesis: '/etc/genesis.json',
    passphraseFile: '/etc/apotheca/data/passphrase',
    listen: ['/ip4/127.0.0.1/tcp/0'],
    announce: [],
    members: [],
    encrypters: ['tls', 'noise'],
    api: { host: '127.0.0.1', port: 24_200, allowRemote: false },
    store: {
      capacityBytes: 100 * 1024 ** 3,
      reserveFreeBytes: 10 * 1024 ** 3,
      fullRatio: 0.95,
      scrubDays: 30,
      scrubBytesPerSecondMax: 20 * 1024 ** 2,
      repairBytesPerSecond: 32 * 1024 ** 2,
      offer: true,
      zone: 'north-hospital',
    },
    uploads: { expireHours: 72, openMax: 64 },
    ledger: { deltaMs: 150, blockIntervalMs: 150, idleIntervalMs: 10_000 },
    log: { level: 'info' },
  })
})

test.each([
  ['50 GiB', 50 * 1024 ** 3],
  ['1.5 TiB', 1.5 * 1024 ** 4],
  ['512MiB', 512 * 1024 ** 2],
  [4096, 4096],
  ['4096 B', 4096],
  ['50 GB', undefined],
  ['50', undefined],
  ['-1 GiB', undefined],
  ['', undefined],
  [0.5, undefined],
  [-1, undefined],
  [2 ** 60, undefined],
])('the size %j is %s bytes', (value, bytes) => {
  expect(parseSize(value)).toBe(bytes)
})

describe('a problem is named with its line and what would be right', () => {
  test('a mistyped option suggests the right one', () => {
    const fault = theProblem(withLines('  "encryptres": ["tls"]'))
    expect(fault).toEqual({
      code: 'CONFIG_INVALID',
      file: FILE,
      line: 7,
      column: 3,
      option: 'encryptres',
      problem: 'is not an option (did you mean "encrypters"?)',
      expected: TOP_LEVEL,
    })
    expect(faultSentence(configFaults.CONFIG_INVALID, fault)).toBe(
      `${FILE}:7:3: encryptres is not an option (did you mean "encrypters"?); expected ${TOP_LEVEL}.`,
    )
  })

  test('an unknown option within a section lists those of the section', () => {
    const fault = theProblem(withLines('  "api": {', '    "certificate": "x.pem"', '  }'))
    expect(fault).toMatchObject({ line: 8, option: 'api.certificate', expected: 'one of host, port, allowRemote' })
  })

  test.each<[lines: string[], line: number, option: string, problem: string, expected: RegExp]>([
    [['  "institution2": 1'], 7, 'institution2', 'is not an option (did you mean "institution"?)', /one of/],
    [['  "store": { "capacity": "50 GB" }'], 7, 'store.capacity', 'is "50 GB"', /size of 64 MiB or more/],
    [['  "store": {', '    "fullRatio": 1.5', '  }'], 8, 'store.fullRatio', 'is 1.5', /0\.5 to 0\.99/],
    [['  "store": 5'], 7, 'store', 'is 5', /an object with any of capacity, reserveFree/],
    [['  "store": {', '    "s3": {}', '  }'], 8, 'store.s3.endpoint', 'is missing', /https/],
    [['  "api": { "port": "80" }'], 7, 'api.port', 'is "80"', /port from 0 to 65535/],
    [['  "api": { "host": "0.0.0.0" }'], 7, 'api.host', 'is "0.0.0.0"', /loopback.*api\.allowRemote/],
    [['  "log": { "level": "verbose" }'], 7, 'log.level', 'is "verbose"', /"debug", "info"/],
    [['  "encrypters": ["tls", "tls"]'], 7, 'encrypters', 'is an array', /both/],
    [['  "encrypters": ["ssl"]'], 7, 'encrypters[0]', 'is "ssl"', /"tls"/],
    [['  "announce": ["localhost:80"]'], 7, 'announce[0]', 'is "localhost:80"', /multiaddr/],
    [['  "announce": ["/ip4/1.2.3.4/udp/1"]'], 7, 'announce[0]', 'is "/ip4/1.2.3.4/udp/1"', /TCP port/],
    [
      ['  "ledger": { "idleIntervalMs": 1000, "blockIntervalMs": 2000 }'],
      7,
      'ledger.idleIntervalMs',
      'is 1000',
      /no less/,
    ],
    [['  "ledger": { "blockIntervalMs": 150.5 }'], 7, 'ledger.blockIntervalMs', 'is 150.5', /whole number/],
    [['  "passphraseFile": null'], 7, 'passphraseFile', 'is null', /a path/],
    [
      ['  "members": [', '    { "institution": "South!", "address": "/dns4/s.example/tcp/1" }', '  ]'],
      8,
      'members[0].institution',
      'is "South!"',
      /a-z, 0-9/,
    ],
    [['  "members": [', '    { "institution": "south" }', '  ]'], 8, 'members[0].address', 'is missing', /multiaddr/],
    [
      ['  "members": [ { "institution": "s", "adress": "/ip4/1.2.3.4/tcp/1" } ]'],
      7,
      'members[0].address',
      'is missing',
      /./,
    ],
    [['  "institution": "twice"'], 7, 'institution', 'is there twice', /once/],
  ])('%j', (lines, line, option, problem, expected) => {
    const fault = problemsOf(withLines(...lines))[0]
    expect(fault).toMatchObject({ code: 'CONFIG_INVALID', file: FILE, line, option, problem })
    expect(fault?.expected).toMatch(expected)
  })

  const bucket = ['"endpoint": "https://s3.example.org"', '"bucket": "blocks"', '"credentialsFile": "s3.json"']
  const inBucket = (line: string): string => {
    const others = bucket.filter((one) => !line.startsWith(one.slice(0, one.indexOf(':'))))
    return withLines('  "store": {', '    "s3": {', `      ${[line, ...others].join(',\n      ')}`, '    }', '  }')
  }

  test.each<[line: string, option: string, problem: RegExp, expected: RegExp]>([
    ['"endpoint": "http://s3.example.org"', 'endpoint', /^is "http:/, /allowHttp/],
    ['"endpoint": "https://s3.example.org/path"', 'endpoint', /^is "https:/, /https:\/\//],
    ['"endpoint": "s3.example.org"', 'endpoint', /^is "s3/, /https:\/\//],
    ['"bucket": "A"', 'bucket', /^is "A"/, /3 to 63/],
    ['"prefix": "no-slash"', 'prefix', /^is "no-slash"/, /followed by \//],
    ['"prefix": "../"', 'prefix', /^is "..\/"/, /followed by \//],
    ['"prefix": "a//"', 'prefix', /^is "a\/\/"/, /followed by \//],
    ['"region": "EU"', 'region', /^is "EU"/, /a-z/],
    ['"secretAccessKey": "x"', 'secretAccessKey', /^is not an option/, /one of endpoint, bucket, prefix, region/],
  ])('store.s3: %s', (line, option, problem, expected) => {
    const fault = theProblem(inBucket(line))
    expect(fault).toMatchObject({ line: 9, option: `store.s3.${option}` })
    expect(fault.problem).toMatch(problem)
    expect(fault.expected).toMatch(expected)
  })

  test.each([
    ['"endpoint": "http://127.0.0.1:9000/"', { endpoint: 'http://127.0.0.1:9000' }],
    ['"endpoint": "http://[::1]:9000"', { endpoint: 'http://[::1]:9000' }],
    ['"prefix": ""', { prefix: '' }],
    ['"prefix": "clinic.a/peer_1/"', { prefix: 'clinic.a/peer_1/' }],
  ])('store.s3 with %s is taken, its other options by default', (line, expected) => {
    expect(parsePeerConfig(inBucket(line), FILE).store.s3).toEqual({
      endpoint: 'https://s3.example.org',
      bucket: 'blocks',
      prefix: 'apotheca/',
      region: 'us-east-1',
      credentialsFile: '/etc/apotheca/s3.json',
      allowHttp: false,
      ...expected,
    })
  })

  test('a missing option is named at the object that lacks it', () => {
    const fault = theProblem(LEAST.replace('  "genesis": "../genesis.json",\n', ''))
    expect(fault).toMatchObject({
      line: 1,
      option: 'genesis',
      problem: 'is missing',
      expected: 'a path, relative to the config file',
    })
  })

  test('all problems are named at once, in the order of the file', () => {
    const problems = problemsOf(withLines('  "log": { "level": 1 },', '  "apj": {},', '  "api": { "port": -1 }'))
    expect(problems.map(({ line, option }) => [line, option])).toEqual([
      [7, 'log.level'],
      [8, 'apj'],
      [9, 'api.port'],
    ])
  })

  test.each([
    ['{\n  "institution": "a"\n  "dataDir": "b"\n}', 3, /comma expected/],
    ['{\n  "institution": \n}', 3, /value expected/],
    ['', 1, /./],
    ['[]', 1, /no object/],
    ['{ "institution": "a" } 1', 1, /end of file expected/],
  ])('what is not JSON is named with its line: %j', (text, line, problem) => {
    const fault = theProblem(text)
    expect(fault).toMatchObject({ option: 'the file', line })
    expect(fault.problem).toMatch(problem)
  })
})

describe('a file', () => {
  let dir: string
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'apotheca-config-'))
  })
  afterEach(async () => {
    await rm(dir, { recursive: true, force: true })
  })

  test('that is not there is CONFIG_UNREADABLE with the reason', async () => {
    const file = join(dir, 'none.json')
    await expect(loadPeerConfig(file)).rejects.toMatchObject({
      fault: { code: 'CONFIG_UNREADABLE', file, reason: 'ENOENT' },
    })
  })

  test('that is too large or not text is CONFIG_UNREADABLE', async () => {
    const file = join(dir, 'large.json')
    await writeFile(file, ' '.repeat(CONFIG_BYTES_MAX + 1))
    await expect(loadPeerConfig(file)).rejects.toMatchObject({ fault: { code: 'CONFIG_UNREADABLE' } })
    await writeFile(file, new Uint8Array([0x7b, 0xff, 0x7d]))
    await expect(loadPeerConfig(file)).rejects.toMatchObject({ fault: { reason: 'it is not UTF-8 text' } })
  })

  test('is read with paths relative to itself', async () => {
    const file = join(dir, 'north.json')
    await writeFile(file, LEAST)
    await chmod(file, 0o400)
    expect((await loadPeerConfig(file)).dataDir).toBe(join(dir, 'data'))
  })
})

test('docs/config.md is what the code says (npm run docs writes it)', async () => {
  const page = await readFile(fileURLToPath(new URL('../../../docs/config.md', import.meta.url)), 'utf8')
  expect(page).toBe(configDoc())
})

test('every option is described, and its default is the one that holds', () => {
  const config = parsePeerConfig(LEAST, FILE) as unknown as Record<string, unknown>
  const options = describePeerConfigOptions()
  expect(options).toHaveLength(33)
  for (const { name, byDefault } of options) {
    // Sizes and paths are changed in reading; the first test of this file pins those.
    if (byDefault === undefined || name.startsWith('store.') || name === 'passphraseFile') continue
    const value = name.split('.').reduce<unknown>((object, key) => (object as Record<string, unknown>)[key], config)
    expect(value, name).toEqual(JSON.parse(byDefault))
  }
})

describe('peer-configs/', () => {
  const folder = fileURLToPath(new URL('../../../peer-configs/', import.meta.url))
  const names = ['demo', 'single'] as const
  const configsOf = { demo: DEMO.map((name) => `demo/${name}.json`), single: ['single.json'] }

  test.each(names)('%s: every file is accepted, and no two peers share a folder or a port', async (name) => {
    const configs = await Promise.all(configsOf[name].map((file) => loadPeerConfig(join(folder, file))))
    expect(new Set(configs.map((config) => config.dataDir)).size).toBe(configs.length)
    const ports = configs.flatMap(({ api, listen }) => [
      `${api.port}`,
      ...listen.map((address) => address.split('/')[4]),
    ])
    expect(new Set(ports).size).toBe(configs.length * 2)
    expect(new Set(configs.map((config) => config.genesis)).size).toBe(1)
  })

  test('demo: every peer dials each other one where it listens, and on this machine only', async () => {
    const configs = await Promise.all(configsOf.demo.map((file) => loadPeerConfig(join(folder, file))))
    for (const { institution, members, listen, api } of configs) {
      const others = configs.filter((one) => one.institution !== institution)
      expect(members).toEqual(others.map((one) => ({ institution: one.institution, address: one.listen[0] })))
      expect([...listen, `/ip4/${api.host}/`].every((address) => address.startsWith('/ip4/127.0.0.1/'))).toBe(true)
    }
  })

  test.each(names)('%s: the template makes a valid genesis of exactly its peers, once it has keys', async (name) => {
    const configs = await Promise.all(configsOf[name].map((file) => loadPeerConfig(join(folder, file))))
    const identities = await Promise.all(configs.map(({ institution }) => publicIdentity(institution)))
    const template = join(folder, name, 'genesis.template.json')
    const { genesis } = await makeGenesis(template, identities, { nowMs: 1_000, extraPeers: new Map() })
    expect(genesis.institutions.map(({ id }) => id)).toEqual(configs.map(({ institution }) => institution))
    expect(genesis.validators).toHaveLength(name === 'demo' ? 4 : 1)
  })

  test('no file holds a key', async () => {
    const files = await readdir(folder, { recursive: true, withFileTypes: true })
    const configs = files.filter((entry) => entry.isFile() && entry.name.endsWith('.json'))
    expect(configs.length).toBeGreaterThan(0)
    for (const file of configs) {
      const text = await readFile(join(file.parentPath, file.name), 'utf8')
      // 32 bytes or more in hex or base64, whatever they are called.
      expect(text, file.name).not.toMatch(/"[A-Za-z0-9+/_=-]{43,}"/)
    }
  })
})

/** What `peer init` would write, with fresh keys. */
async function publicIdentity(institution: string): Promise<PublicIdentity> {
  const key = (): Uint8Array => generateSigningKey().publicKey
  const hex = (bytes: Uint8Array): string => toString(bytes, 'base16')
  const { wrap, publicKey } = await generateEncryptionKey('x-wing')
  const encryption = { wrap, publicKey: toString(publicKey, 'base64pad') }
  const account = { signingKey: hex(key()), encryption }
  return {
    institution,
    adminKey: hex(key()),
    account,
    peer: peerIdText(key()),
    consensusKey: hex(key()),
    accountId: '',
  }
}
