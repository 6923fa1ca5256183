/**
 * Reads a socket into memory that is used again.
 *
 * node allocates memory for each read, and V8 runs a full collection for every few dozen megabytes of it: a third of the CPU
 * time of a fetch (docs/decisions/0106-received-bytes-are-lent.md). `net.Socket` has the option `onread` against that; a TLS
 * socket over another socket ignores it. So what the option does to a new socket is done here to one that exists.
 */
import { Socket } from 'node:net'
import { P2P_READ_BYTES, P2P_READ_BYTES_BUSY } from '../core/limits.ts'

/** Memory for a busy connection, at rest: one or two are busy at a time. */
const atRest: Uint8Array<ArrayBuffer>[] = []
const AT_REST_MAX = 4

/** Where node keeps the parts of `onread`; found by their names, since nothing exports them. */
const ON_READ = onReadSymbols()

function onReadSymbols(): { buffer: symbol; generate: symbol; callback: symbol } | undefined {
  const symbols = Object.getOwnPropertySymbols(new Socket())
  const [buffer, generate, callback] = ['kBuffer', 'kBufferGen', 'kBufferCb'].map((name) =>
    symbols.find((one) => one.description === name),
  )
  if (buffer === undefined || generate === undefined || callback === undefined) return undefined
  return { buffer, generate, callback }
}

interface SocketParts {
  readonly _handle?: { useUserBuffer?: (memory: Uint8Array) => void } | null
  [part: symbol]: unknown
}

/**
 * From now on what a socket reads is given to `onBytes`, as far as it came in one turn, and is only valid until that returns.
 *
 * @param socket - connected.
 * @returns false where this node has other names for the parts: nothing was changed.
 */
export function lendReads(socket: Socket, onBytes: (bytes: Uint8Array) => void): boolean {
  const parts = socket as unknown as SocketParts
  if (ON_READ === undefined || typeof parts._handle?.useUserBuffer !== 'function') return false
  const memory = new ReadMemory(onBytes)
  parts[ON_READ.buffer] = memory.next()
  parts[ON_READ.generate] = () => memory.next()
  parts[ON_READ.callback] = (bytes: number) => memory.take(bytes)
  parts._handle.useUserBuffer(parts[ON_READ.buffer] as Uint8Array)
  // What has come is handed on before anyone hears of the end.
  socket.prependListener('end', () => memory.deliver())
  socket.prependListener('close', () => memory.close())
  return true
}

/** Memory of one socket: little while little comes; more while it fills within a turn. */
class ReadMemory {
  readonly #onBytes: (bytes: Uint8Array) => void
  readonly #small = new Uint8Array(P2P_READ_BYTES)
  #memory = this.#small
  /** Bytes at the start that are handed on. */
  #delivered = 0
  #filled = 0
  #bytesThisTurn = 0
  #turning = false
  #isBusy = false

  constructor(onBytes: (bytes: Uint8Array) => void) {
    this.#onBytes = onBytes
  }

  /** Takes note of what was read. @returns that the socket may read on */
  take(bytes: number): true {
    this.#filled += bytes
    this.#bytesThisTurn += bytes
    if (this.#bytesThisTurn > P2P_READ_BYTES) this.#isBusy = true
    if (!this.#turning) {
      this.#turning = true
      setImmediate(() => this.#endTurn())
    }
    const isWrong = this.#isBusy === (this.#memory === this.#small)
    if (isWrong || this.#memory.length - this.#filled < P2P_READ_BYTES) this.deliver()
    return true
  }

  /** Where the next bytes go. */
  next(): Uint8Array {
    if (this.#delivered < this.#filled) return this.#memory.subarray(this.#filled)
    const isSmall = this.#memory === this.#small
    if (this.#isBusy && isSmall) this.#memory = atRest.pop() ?? new Uint8Array(P2P_READ_BYTES_BUSY)
    else if (!this.#isBusy && !isSmall) this.#leaveBusy()
    this.#delivered = 0
    this.#filled = 0
    return this.#memory
  }

  deliver(): void {
    const start = this.#delivered
    this.#delivered = this.#filled
    if (start < this.#filled) this.#onBytes(this.#memory.subarray(start, this.#filled))
  }

  close(): void {
    this.deliver()
    if (this.#memory !== this.#small) this.#leaveBusy()
  }

  #endTurn(): void {
    this.#turning = false
    this.#isBusy = this.#bytesThisTurn > P2P_READ_BYTES
    this.#bytesThisTurn = 0
    this.deliver()
  }

  #leaveBusy(): void {
    if (atRest.length < AT_REST_MAX) atRest.push(this.#memory)
    this.#memory = this.#small
  }
}
