/**
 * What the network between two processes of this machine carries, measured three ways: one raw libp2p stream (the limit
 * that `get` is compared with), plain bitswap with Helia alone, and our block exchange. Each measurement starts two fresh
 * processes, sends `warmupBytes` first, and then times `bytes`.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** `tls` is libp2p's own for plain libp2p, and ours for our block exchange; `socket-tls` is ours for both. */
export type Encrypter = 'tls' | 'socket-tls' | 'noise'

export interface TransferOptions {
  readonly bytes: number
  /** @default 'tls' */
  readonly encrypter?: Encrypter
  /** Sent before the clock starts, so that neither side is measured while its code is compiled. @default 64 MiB */
  readonly warmupBytes?: number
}

export interface Transfer {
  /** Decimal megabytes a second. */
  readonly mbPerS: number
  /** Largest resident set of each process, in bytes. */
  readonly providerRssBytes: number
  readonly readerRssBytes: number
  /** CPU time of each process, all threads, per decimal gigabyte: what doesn't change when others use the machine. */
  readonly providerCpuSecondsPerGb: number
  readonly readerCpuSecondsPerGb: number
}

export type Way = 'raw' | 'bitswap' | 'blocks'

/** What a child is told to do. */
export interface ChildTask {
  readonly role: 'provider' | 'reader'
  readonly way: Way
  readonly encrypter: Encrypter
  readonly bytes: number
  readonly warmupBytes: number
  /** Where the provider listens; for the reader. */
  readonly address?: string
}
export type ChildReport =
  | { readonly kind: 'listening'; readonly address: string }
  | { readonly kind: 'done'; readonly seconds: number; readonly usage: Usage }
  | { readonly kind: 'usage'; readonly usage: Usage }

/** Of one process: its largest resident set, and its CPU time since it began to listen or read. */
export interface Usage {
  readonly rssBytes: number
  readonly cpuSeconds: number
}

const MIB = 1024 * 1024
const CHILD = fileURLToPath(new URL('./p2p-child.ts', import.meta.url))

/** One libp2p stream with libp2p's own defaults: 1 MiB buffers sent with back-pressure, and counted at the other end. */
export const measureRawStream = (options: TransferOptions): Promise<Transfer> => measure('raw', options)
/** Helia alone, default settings, 1 MiB blocks in memory, 16 of them asked for at a time. */
export const measureBitswap = (options: TransferOptions): Promise<Transfer> => measure('bitswap', options)
/** `/apotheca/blocks/1`: 1 MiB blocks in memory, verified on arrival. */
export const measureBlockExchange = (options: TransferOptions): Promise<Transfer> => measure('blocks', options)

async function measure(way: Way, options: TransferOptions): Promise<Transfer> {
  const task = {
    way,
    encrypter: options.encrypter ?? 'tls',
    bytes: options.bytes,
    warmupBytes: options.warmupBytes ?? 64 * MIB,
  }
  const provider = fork(CHILD)
  const reader = fork(CHILD)
  try {
    provider.send({ ...task, role: 'provider' } satisfies ChildTask)
    const listening = await report(provider, 'listening')
    reader.send({ ...task, role: 'reader', address: listening.address } satisfies ChildTask)
    const done = await report(reader, 'done')
    provider.send('usage')
    const { usage } = await report(provider, 'usage')
    const gigabytes = (options.bytes + task.warmupBytes) / 1e9
    return {
      mbPerS: options.bytes / 1e6 / done.seconds,
      providerRssBytes: usage.rssBytes,
      readerRssBytes: done.usage.rssBytes,
      providerCpuSecondsPerGb: usage.cpuSeconds / gigabytes,
      readerCpuSecondsPerGb: done.usage.cpuSeconds / gigabytes,
    }
  } finally {
    provider.kill('SIGKILL')
    reader.kill('SIGKILL')
  }
}

async function report<K extends ChildReport['kind']>(
  child: ChildProcess,
  kind: K,
): Promise<Extract<ChildReport, { kind: K }>> {
  const exited = once(child, 'exit').then(([code]: unknown[]) => {
    throw new Error(`a bench process ended early, exit status ${String(code)}`)
  })
  // Settles only after the race is over, when the child is killed.
  exited.catch(() => undefined)
  const [message] = (await Promise.race([once(child, 'message'), exited])) as [ChildReport]
  if (message.kind !== kind) throw new Error(`expected ${kind}, got ${message.kind}`)
  return message as Extract<ChildReport, { kind: K }>
}
