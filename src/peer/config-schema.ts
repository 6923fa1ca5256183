/**
 * The options of a peer's config file: their form, their defaults and what they mean, in one place, from which the checks,
 * the messages and docs/config.md are made.
 *
 * Sizes are a whole number of bytes or a string with a unit (`"50 GiB"`), and their names carry no unit. Times are whole
 * numbers whose names end in their unit (`blockIntervalMs`, `expireHours`, `scrubDays`).
 */
import { multiaddr } from '@multiformats/multiaddr'
import { z } from 'zod'
import { IdError, type InstitutionId, parseInstitutionId } from '../core/ids.ts'
import {
  CONFIG_ADDRESSES_MAX,
  CONFIG_MEMBERS_MAX,
  CONFIG_TEXT_MAX,
  SEGMENT_BYTES,
  UPLOADS_OPEN_MAX,
} from '../core/limits.ts'
import { parseSize } from '../core/size.ts'

const LOOPBACK_HOSTS: readonly string[] = ['127.0.0.1', '::1', 'localhost']

/** What a reader needs to know of one option. */
export interface OptionInfo {
  /** The form of the value, as a message says it after "expected". */
  readonly form: string
  /** The default, as one writes it; absent where the option must be given or has none. */
  readonly byDefault?: string
  readonly means: string
}

function option<T extends z.ZodType>(schema: T, info: OptionInfo): T {
  return schema.meta({ ...info })
}

function size(bytesMin: number): z.ZodType<number> {
  return z.union([z.string(), z.number()]).transform((value, context) => {
    const bytes = parseSize(value)
    if (bytes !== undefined && bytes >= bytesMin) return bytes
    context.addIssue({ code: 'custom', message: 'not such a size' })
    return z.NEVER
  })
}

const path = z.string().min(1).max(CONFIG_TEXT_MAX)

const institutionId = z
  .string()
  .max(CONFIG_TEXT_MAX)
  .transform((value, context): InstitutionId => {
    try {
      return parseInstitutionId(value)
    } catch (error) {
      if (!(error instanceof IdError)) throw error
      context.addIssue({ code: 'custom', message: 'not an institution id' })
      return z.NEVER
    }
  })

/** An address that @libp2p/tcp can use: a host, then a TCP port, perhaps who is expected there. */
const tcpAddress = z
  .string()
  .max(CONFIG_TEXT_MAX)
  .refine((value) => {
    try {
      const [host, port, peer, ...rest] = multiaddr(value).getComponents()
      const isHost = ['ip4', 'ip6', 'dns', 'dns4', 'dns6'].includes(host?.name ?? '')
      return isHost && port?.name === 'tcp' && (peer === undefined || peer.name === 'p2p') && rest.length === 0
    } catch {
      return false
    }
  })

const ADDRESS_FORM = 'a multiaddr of host and TCP port, such as /ip4/192.0.2.1/tcp/24100'
const distinct = (values: readonly string[]): boolean => new Set(values).size === values.length
const sizeForm = (least: string): string => `a size of ${least} or more, such as "50 GiB", or whole bytes`

const member = z.strictObject({
  institution: option(institutionId, {
    form: '1 to 32 of a-z, 0-9 and -',
    means: 'Whose peer answers there, by its id in the consortium.',
  }),
  address: option(tcpAddress, { form: ADDRESS_FORM, means: 'Where to dial it.' }),
})

const api = z.strictObject({
  host: option(z.string().min(1).max(CONFIG_TEXT_MAX).default('127.0.0.1'), {
    form: 'a loopback address (127.0.0.1, ::1 or localhost), or any with api.allowRemote',
    byDefault: '"127.0.0.1"',
    means: 'Address the HTTP API listens on. It speaks plain HTTP: beyond this machine, put a TLS proxy before it.',
  }),
  port: option(z.int().min(0).max(65_535).default(24_200), {
    form: 'a port from 0 to 65535; 0 takes a free one',
    byDefault: '24200',
    means: 'Port of the HTTP API.',
  }),
  allowRemote: option(z.boolean().default(false), {
    form: 'true or false',
    byDefault: 'false',
    means: 'Allows an api.host that other machines reach.',
  }),
})

/** Of an object store: without a path, a query, or keys in it. */
const origin = z
  .string()
  .max(CONFIG_TEXT_MAX)
  .refine((value) => {
    const url = URL.parse(value)
    return url !== null && ['https:', 'http:'].includes(url.protocol) && [url.origin, `${url.origin}/`].includes(value)
  })
  .transform((value) => new URL(value).origin)

const s3 = z.strictObject({
  endpoint: option(origin, {
    form: 'https:// with a host and perhaps a port; http:// on this machine, or anywhere with store.s3.allowHttp',
    means: 'The object store; buckets are named in the path.',
  }),
  bucket: option(z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/), {
    form: '3 to 63 of a-z, 0-9, . and -',
    means: 'A bucket that exists. Its versioning, locks and life cycles must be off.',
  }),
  prefix: option(
    z
      .string()
      .max(CONFIG_TEXT_MAX)
      .regex(/^(?:(?!\.{1,2}\/)[A-Za-z0-9._-]+\/)*$/)
      .default('apotheca/'),
    {
      form: 'empty, or names of A-Z, a-z, 0-9, ., _ and -, each followed by /',
      byDefault: '"apotheca/"',
      means: 'Where in the bucket; no two peers may share it.',
    },
  ),
  region: option(
    z
      .string()
      .regex(/^[a-z0-9-]{1,64}$/)
      .default('us-east-1'),
    { form: '1 to 64 of a-z, 0-9 and -', byDefault: '"us-east-1"', means: 'What requests are signed for.' },
  ),
  credentialsFile: option(path, {
    form: 'a path, relative to the config file',
    means: 'File with {"accessKeyId", "secretAccessKey"} and perhaps "sessionToken"; mode 0600.',
  }),
  allowHttp: option(z.boolean().default(false), {
    form: 'true or false',
    byDefault: 'false',
    means:
      'Allows http:// to another machine: nobody on the way learns the keys or can alter a block unnoticed, but all can see which blocks there are.',
  }),
})

const STORE_ZONE = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/

const store = z.strictObject({
  capacity: option(size(64 * SEGMENT_BYTES).prefault('100 GiB'), {
    form: sizeForm('64 MiB'),
    byDefault: '"100 GiB"',
    means: 'What the institution gives: blocks are refused beyond it.',
  }),
  reserveFree: option(size(0).prefault('10 GiB'), {
    form: sizeForm('0'),
    byDefault: '"10 GiB"',
    means: 'What stays free on the disk: below it, blocks are refused. Of no account with store.s3.',
  }),
  fullRatio: option(z.number().min(0.5).max(0.99).default(0.95), {
    form: 'a number from 0.5 to 0.99',
    byDefault: '0.95',
    means: 'Share of the capacity from which on blocks are refused.',
  }),
  scrubDays: option(z.int().min(1).max(365).default(30), {
    form: 'a whole number from 1 to 365',
    byDefault: '30',
    means: 'Days in which every stored block is read and checked once.',
  }),
  scrubRate: option(size(SEGMENT_BYTES).prefault('20 MiB'), {
    form: sizeForm('1 MiB'),
    byDefault: '"20 MiB"',
    means: 'The most that scrubbing reads in a second.',
  }),
  repairRate: option(size(SEGMENT_BYTES).prefault('32 MiB'), {
    form: sizeForm('1 MiB'),
    byDefault: '"32 MiB"',
    means:
      'The most that repair takes from the network in a second: what this peer must hold and has lost, or is given anew.',
  }),
  s3: s3.optional(),

  offer: option(z.boolean().default(true), {
    form: 'true or false',
    byDefault: 'true',
    means: 'Whether this peer offers its capacity to the network, and so holds parts of what others store.',
  }),
  zone: option(z.string().regex(STORE_ZONE).optional(), {
    form: '1 to 32 of a-z, 0-9 and -',
    byDefault: 'the institution',
    means:
      'What fails together with this peer beyond its institution: a site, a city, a power grid. All peers of an institution lie in one zone.',
  }),
})

const uploads = z.strictObject({
  expireHours: option(z.int().min(1).max(720).default(72), {
    form: 'a whole number from 1 to 720',
    byDefault: '72',
    means: 'Hours after its last byte until an unfinished upload is forgotten.',
  }),
  openMax: option(z.int().min(1).max(UPLOADS_OPEN_MAX).default(64), {
    form: `a whole number from 1 to ${UPLOADS_OPEN_MAX}`,
    byDefault: '64',
    means: 'Unfinished uploads at once.',
  }),
})

const ledger = z.strictObject({
  deltaMs: option(z.int().min(10).max(60_000).default(150), {
    form: 'a whole number from 10 to 60000',
    byDefault: '150',
    means:
      'Time in which a message reaches any validator, in milliseconds: 150 in one building, 500 between cities. Only a validator uses it.',
  }),
  blockIntervalMs: option(z.int().min(10).max(60_000).default(150), {
    form: 'a whole number from 10 to 60000',
    byDefault: '150',
    means: 'Least time between two blocks, in milliseconds. Only a validator uses it.',
  }),
  idleIntervalMs: option(z.int().min(1_000).max(3_600_000).default(10_000), {
    form: 'a whole number from 1000 to 3600000, and no less than ledger.blockIntervalMs',
    byDefault: '10000',
    means: 'Time after which a chain without transactions makes a block, in milliseconds. Only a validator uses it.',
  }),
})

const log = z.strictObject({
  level: option(z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'), {
    form: '"debug", "info", "warn", "error" or "silent"',
    byDefault: '"info"',
    means: 'The least severe that is logged.',
  }),
})

export const configSchema = z
  .strictObject({
    institution: option(institutionId, {
      form: '1 to 32 of a-z, 0-9 and -',
      means: 'Whose peer this is, by its id in the consortium.',
    }),
    dataDir: option(path, {
      form: 'a path, relative to the config file',
      means: 'Folder of everything this peer keeps: keys.json, blocks, ledger. One peer per folder.',
    }),
    genesis: option(path, {
      form: 'a path, relative to the config file',
      means: 'The genesis of the consortium; the same file at every member.',
    }),
    passphraseFile: option(path.optional(), {
      form: 'a path, relative to the config file',
      byDefault: '<dataDir>/passphrase',
      means:
        'File with the passphrase of keys.json on its first line; mode 0600. Best elsewhere than on the disk of dataDir.',
    }),
    listen: option(z.array(tcpAddress).min(1).max(CONFIG_ADDRESSES_MAX).refine(distinct), {
      form: `a list of distinct addresses, each ${ADDRESS_FORM}`,
      means: 'Where members reach this peer.',
    }),
    announce: option(z.array(tcpAddress).max(CONFIG_ADDRESSES_MAX).refine(distinct).default([]), {
      form: `a list of distinct addresses, each ${ADDRESS_FORM}`,
      byDefault: '[]',
      means: 'Addresses told to members instead of those of `listen`: for a peer behind NAT.',
    }),
    members: option(z.array(member).max(CONFIG_MEMBERS_MAX).default([]), {
      form: 'a list of {"institution", "address"}',
      byDefault: '[]',
      means: 'Peers to stay connected to. Who is admitted is on the ledger, not here.',
    }),
    encrypters: option(
      z
        .array(z.enum(['tls', 'noise']))
        .min(1)
        .max(2)
        .refine(distinct)
        .default(['tls', 'noise']),
      {
        form: '["tls"], ["noise"] or both, the preferred one first',
        byDefault: '["tls", "noise"]',
        means:
          'Encryption offered between peers, in order of preference. TLS is the faster; Noise is for other IPFS programs.',
      },
    ),
    api: api.prefault({}),
    store: store.prefault({}),
    uploads: uploads.prefault({}),
    ledger: ledger.prefault({}),
    log: log.prefault({}),
  })
  .refine((config) => config.api.allowRemote || LOOPBACK_HOSTS.includes(config.api.host), { path: ['api', 'host'] })
  .refine(({ store: { s3: bucket } }) => bucket === undefined || bucket.allowHttp || isPrivate(bucket.endpoint), {
    path: ['store', 's3', 'endpoint'],
  })
  .refine((config) => config.ledger.idleIntervalMs >= config.ledger.blockIntervalMs, {
    path: ['ledger', 'idleIntervalMs'],
  })

/** Whether what is sent there can't be seen by others; what is no address at all is told elsewhere. */
function isPrivate(endpoint: string): boolean {
  const url = URL.parse(endpoint)
  return url?.protocol !== 'http:' || [...LOOPBACK_HOSTS, '[::1]'].includes(url.hostname)
}

export type ParsedConfig = z.output<typeof configSchema>

/** One row of docs/config.md. */
export interface ConfigOption extends OptionInfo {
  /** With dots, `[]` for each entry of a list: `members[].address`. */
  readonly name: string
}

/** Every option in the order of the schema. */
export function describePeerConfigOptions(): readonly ConfigOption[] {
  return optionsBelow(configSchema, '')
}

function optionsBelow(schema: z.ZodType, name: string): ConfigOption[] {
  const info = schema.meta() as OptionInfo | undefined
  const own = info === undefined ? [] : [{ ...info, name }]
  const inner = bare(schema)
  if (inner instanceof z.ZodArray) return [...own, ...optionsBelow(inner.element as z.ZodType, `${name}[]`)]
  if (!(inner instanceof z.ZodObject)) return own
  const prefix = name === '' ? '' : `${name}.`
  const fields = Object.entries(inner.shape as Readonly<Record<string, z.ZodType>>)
  return [...own, ...fields.flatMap(([field, value]) => optionsBelow(value, `${prefix}${field}`))]
}

/** The schema under its defaults. */
function bare(schema: z.ZodType): z.ZodType {
  const isWrapped = schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional
  return isWrapped ? bare(schema.unwrap() as z.ZodType) : schema
}
