/** Real hosts for tests: TCP on 127.0.0.1:0, keys made from a word, members as a set that the test may change. */
import { createHash } from 'node:crypto'
import type { Log } from '../../../src/core/ports.ts'
import { type EncrypterName, type P2pHost, startHost } from '../../../src/p2p/host.ts'
import { peerIdOfSeed } from '../../../src/p2p/peer-ids.ts'

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly fields: object
  readonly message: string
}

export class MemoryLog implements Log {
  readonly lines: LogLine[] = []
  debug(fields: object, message: string): void {
    this.lines.push({ level: 'debug', fields, message })
  }
  info(fields: object, message: string): void {
    this.lines.push({ level: 'info', fields, message })
  }
  warn(fields: object, message: string): void {
    this.lines.push({ level: 'warn', fields, message })
  }
  error(fields: object, message: string): void {
    this.lines.push({ level: 'error', fields, message })
  }
}

export interface TestPeer extends AsyncDisposable {
  readonly host: P2pHost
  readonly log: MemoryLog
  /** Peer id, as text. */
  readonly id: string
  /** Where it listens, with its peer id. */
  readonly address: string
}

export function seedOf(word: string): Uint8Array {
  return createHash('sha256').update(word).digest()
}

export async function membersOf(...words: readonly string[]): Promise<Set<string>> {
  return new Set(await Promise.all(words.map((word) => peerIdOfSeed(seedOf(word)))))
}

export async function startPeer(
  word: string,
  members: ReadonlySet<string>,
  options: { encrypters?: readonly EncrypterName[]; listen?: readonly string[] } = {},
): Promise<TestPeer> {
  const log = new MemoryLog()
  const host = await startHost({
    privateKey: seedOf(word),
    listen: options.listen ?? ['/ip4/127.0.0.1/tcp/0'],
    members: () => members,
    log,
    ...(options.encrypters === undefined ? {} : { encrypters: options.encrypters }),
  })
  return {
    host,
    log,
    id: host.peerId.toString(),
    address: host.getMultiaddrs()[0]?.toString() ?? '',
    [Symbol.asyncDispose]: () => host.stop() as Promise<void>,
  }
}

/** The TCP part alone, as a config may give it. */
export function withoutPeerId(address: string): string {
  return address.replace(/\/p2p\/.*$/, '')
}

/** The fault of whatever `run` throws. */
export async function faultOf(run: Promise<unknown>): Promise<unknown> {
  try {
    await run
  } catch (error) {
    return (error as { fault?: unknown }).fault ?? error
  }
  throw new Error('nothing was thrown')
}
