/**
 * A peer's config file: JSON with comments and trailing commas, every option checked before anything is started.
 *
 * @see docs/config.md; peer-configs/
 */
import { readFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import {
  findNodeAtLocation,
  getNodePath,
  type JSONPath,
  type Node,
  type ParseError,
  parseTree,
  getNodeValue,
  printParseErrorCode,
} from 'jsonc-parser'
import type { z } from 'zod'
import { CodedError } from '../core/coded-error.ts'
import type { InstitutionId } from '../core/ids.ts'
import { CONFIG_BYTES_MAX } from '../core/limits.ts'
import type { S3Bucket } from '../store/s3-client.ts'
import { configSchema, describePeerConfigOptions, type ParsedConfig } from './config-schema.ts'
import { nearestName } from './nearest-name.ts'

const VALUE_SHOWN_MAX = 60

export type ConfigFault =
  | { code: 'CONFIG_UNREADABLE'; file: string; reason: string }
  | {
      code: 'CONFIG_INVALID'
      file: string
      /** From 1. */
      line: number
      /** From 1, in UTF-16 units. */
      column: number
      /** The option with dots, such as `members[2].address`; `the file` where it's none. */
      option: string
      problem: string
      expected: string
    }

/** `fault` is the first problem of the file, `problems` are all, in the order of the file. */
export class ConfigError extends CodedError<ConfigFault> {
  readonly problems: readonly ConfigFault[]
  constructor(problems: readonly [ConfigFault, ...ConfigFault[]], options?: ErrorOptions) {
    super(problems[0], options)
    this.problems = problems
  }
}

/** A config as the peer uses it: paths absolute, sizes in bytes, every default filled in. */
export interface PeerConfig {
  readonly institution: InstitutionId
  readonly dataDir: string
  readonly genesis: string
  readonly passphraseFile: string
  readonly listen: readonly string[]
  readonly announce: readonly string[]
  readonly members: readonly { readonly institution: InstitutionId; readonly address: string }[]
  /** In order of preference. */
  readonly encrypters: readonly ('tls' | 'noise')[]
  readonly api: { readonly host: string; readonly port: number; readonly allowRemote: boolean }
  readonly store: {
    readonly capacityBytes: number
    readonly reserveFreeBytes: number
    readonly fullRatio: number
    readonly scrubDays: number
    readonly scrubBytesPerSecondMax: number
    /** Taken from the network by repair. */
    readonly repairBytesPerSecond: number
    /** Where blocks are kept, if not on the disk. */
    readonly s3?: S3Bucket & { readonly credentialsFile: string }
    /** Whether its room is offered to the network. */
    readonly offer: boolean
    readonly zone: string
  }
  readonly uploads: { readonly expireHours: number; readonly openMax: number }
  readonly ledger: { readonly deltaMs: number; readonly blockIntervalMs: number; readonly idleIntervalMs: number }
  readonly log: { readonly level: 'debug' | 'info' | 'warn' | 'error' | 'silent' }
}

/**
 * Reads and checks a config file.
 *
 * @param path - relative to the working directory; paths inside the file are relative to the file.
 * @throws {ConfigError} `CONFIG_UNREADABLE`, `CONFIG_INVALID`
 */
export async function loadPeerConfig(path: string): Promise<PeerConfig> {
  const file = resolve(path)
  return parsePeerConfig(await readConfig(file), file)
}

async function readConfig(file: string): Promise<string> {
  const unreadable = (reason: string, cause?: unknown): ConfigError =>
    new ConfigError([{ code: 'CONFIG_UNREADABLE', file, reason }], { cause })
  let bytes: Uint8Array
  try {
    bytes = await readFile(file)
  } catch (error) {
    throw unreadable((error as NodeJS.ErrnoException).code ?? 'unknown', error)
  }
  if (bytes.length > CONFIG_BYTES_MAX) throw unreadable(`it has ${bytes.length} bytes, at most ${CONFIG_BYTES_MAX}`)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw unreadable('it is not UTF-8 text', error)
  }
}

/**
 * @param file - absolute path that the text comes from.
 * @throws {ConfigError} `CONFIG_INVALID`
 */
export function parsePeerConfig(text: string, file: string): PeerConfig {
  const source = new Source(text, file)
  const syntax: ParseError[] = []
  const tree = parseTree(text, syntax, { allowTrailingComma: true })
  const first = syntax[0]
  if (first !== undefined) throw new ConfigError([source.syntaxProblem(first)])
  if (tree?.type !== 'object') {
    throw new ConfigError([source.problem(tree?.offset ?? 0, 'the file', 'holds no object', 'an object: { … }')])
  }
  const parsed = configSchema.safeParse(getNodeValue(tree))
  const problems = [
    ...duplicates(tree, source),
    ...(parsed.success ? [] : parsed.error.issues.flatMap((issue) => problemsOf(issue, tree, source))),
  ]
  const [foremost, ...others] = problems.toSorted((a, b) => a.line - b.line || a.column - b.column)
  if (foremost !== undefined) throw new ConfigError([foremost, ...others])
  return resolved(parsed.data as ParsedConfig, dirname(file))
}

function resolved(config: ParsedConfig, folder: string): PeerConfig {
  const { capacity, repairRate, reserveFree, scrubRate, s3, ...store } = config.store
  const dataDir = resolve(folder, config.dataDir)
  return {
    ...config,
    dataDir,
    genesis: resolve(folder, config.genesis),
    passphraseFile:
      config.passphraseFile === undefined ? join(dataDir, 'passphrase') : resolve(folder, config.passphraseFile),
    store: {
      ...store,
      zone: store.zone ?? config.institution,
      capacityBytes: capacity,
      reserveFreeBytes: reserveFree,
      scrubBytesPerSecondMax: scrubRate,
      repairBytesPerSecond: repairRate,
      ...(s3 === undefined ? {} : { s3: { ...s3, credentialsFile: resolve(folder, s3.credentialsFile) } }),
    },
  }
}

type Problem = Extract<ConfigFault, { code: 'CONFIG_INVALID' }>

/** A config's text, and where in it an offset is. */
class Source {
  readonly #text: string
  readonly #file: string

  constructor(text: string, file: string) {
    this.#text = text
    this.#file = file
  }

  problem(offset: number, option: string, problem: string, expected: string): Problem {
    const before = this.#text.slice(0, offset)
    const line = before.split('\n').length
    const column = offset - before.lastIndexOf('\n')
    return { code: 'CONFIG_INVALID', file: this.#file, line, column, option, problem, expected }
  }

  syntaxProblem({ error, offset }: ParseError): Problem {
    // The parser's words are names such as CommaExpected: said as a sentence says it.
    const name = printParseErrorCode(error)
    const words = name.replaceAll(/(?<=[a-z])(?=[A-Z])/g, ' ').toLowerCase()
    const expected = name.endsWith('Expected') ? words.replace(/ expected$/, '') : 'JSON, with // comments allowed'
    return this.problem(offset, 'the file', `is not JSON here (${words})`, `a ${expected}`.replace('a JSON', 'JSON'))
  }
}

/** JSON takes the last of two equal names, silently; a reader takes the first. */
function duplicates(node: Node, source: Source): Problem[] {
  const children = node.children ?? []
  const seen = new Set<string>()
  const own: Problem[] = []
  for (const property of node.type === 'object' ? children : []) {
    const key = property.children?.[0]
    const name = key?.value as string
    if (seen.has(name) && key !== undefined) {
      const option = optionName(getNodePath(key))
      own.push(source.problem(key.offset, option, 'is there twice', 'each option once'))
    }
    seen.add(name)
  }
  return [...own, ...children.flatMap((child) => duplicates(child, source))]
}

type Issue = z.core.$ZodIssue

function problemsOf(issue: Issue, tree: Node, source: Source): Problem[] {
  const path = issue.path as JSONPath
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownOption(key, path, tree, source))
  const node = findNodeAtLocation(tree, path)
  const option = optionName(path)
  const expected = expectedAt(path)
  if (node !== undefined) return [source.problem(node.offset, option, `is ${shown(node)}`, expected)]
  const parent = findNodeAtLocation(tree, path.slice(0, -1)) ?? tree
  return [source.problem(parent.offset, option, 'is missing', expected)]
}

function unknownOption(key: string, path: JSONPath, tree: Node, source: Source): Problem {
  const node = findNodeAtLocation(tree, [...path, key])
  // The value's node; its name stands before it, in the same property.
  const offset = node?.parent?.offset ?? 0
  const known = namesAt(path)
  const near = nearestName(key, known)
  const problem = near === undefined ? 'is not an option' : `is not an option (did you mean "${near}"?)`
  return source.problem(offset, optionName([...path, key]), problem, `one of ${known.join(', ')}`)
}

/** Option names with dots, list positions in brackets. */
function optionName(path: JSONPath): string {
  const name = path.map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`)).join('')
  return name === '' ? 'the file' : name.replace(/^\./, '')
}

/** The name in the table of options: every list position is `[]`. */
function tableName(path: JSONPath): string {
  return optionName(path).replaceAll(/\[\d+\]/g, '[]')
}

/** The form of the option, or of the closest around it that has one. */
function expectedAt(path: JSONPath): string {
  const name = tableName(path)
  const exact = describePeerConfigOptions().find((option) => option.name === name)
  if (exact !== undefined) return exact.form
  if (namesAt(path).length > 0) return `an object with any of ${namesAt(path).join(', ')}`
  return path.length > 0 ? expectedAt(path.slice(0, -1)) : 'an object'
}

/** The names that may stand in the object at `path`. */
function namesAt(path: JSONPath): string[] {
  const prefix = path.length === 0 ? '' : `${tableName(path)}.`
  const below = describePeerConfigOptions().filter(({ name }) => name.startsWith(prefix))
  return [...new Set(below.map(({ name }) => name.slice(prefix.length).split(/[.[]/)[0] ?? ''))]
}

function shown(node: Node): string {
  if (node.type === 'object' || node.type === 'array') return `an ${node.type}`
  const text = JSON.stringify(node.value)
  return text.length <= VALUE_SHOWN_MAX ? text : `${text.slice(0, VALUE_SHOWN_MAX)}…`
}
