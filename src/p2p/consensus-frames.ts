/**
 * Frames of a consensus stream: length (4, big-endian) || bytes.
 *
 * @see docs/spec/consensus-stream.md
 */
const LENGTH_BYTES = 4
/** Memory taken for a frame whose length is only claimed so far. */
const FIRST_BUFFER_BYTES = 16 * 1024

/** @param length - of the message, in bytes. */
export function encodeFrameHead(length: number): Uint8Array {
  const head = new Uint8Array(LENGTH_BYTES)
  new DataView(head.buffer).setUint32(0, length)
  return head
}

/** The length that a frame claims is none that is accepted. */
export class FrameLengthError extends Error {
  readonly bytes: number
  constructor(bytes: number) {
    super(`a frame of ${bytes} bytes`)
    this.bytes = bytes
  }
}

/**
 * Puts frames together from pieces of any size. Its memory follows what has come, not what was claimed, and doesn't depend on
 * how small the pieces are.
 */
export class FrameReader {
  readonly #bytesMax: number
  readonly #head = new Uint8Array(LENGTH_BYTES)
  #headFilled = 0
  /** Of the frame that is being read; undefined before its length is known. */
  #length: number | undefined
  #buffer: Uint8Array = new Uint8Array(0)
  #filled = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /**
   * Takes bytes from a piece until a frame is whole, or the piece is used up.
   *
   * @param from - where in the piece to begin.
   * @returns where it stopped, and the frame, whose bytes are the caller's own.
   * @throws {FrameLengthError} where a length is 0 or over the limit.
   */
  read(piece: Uint8Array, from: number): { readonly next: number; readonly frame: Uint8Array | undefined } {
    let at = from
    while (this.#length === undefined && at < piece.length) {
      this.#head[this.#headFilled++] = piece[at++] ?? 0
      if (this.#headFilled === LENGTH_BYTES) this.#begin(new DataView(this.#head.buffer).getUint32(0))
    }
    if (this.#length === undefined) return { next: at, frame: undefined }
    const part = piece.subarray(at, at + this.#length - this.#filled)
    this.#grow(this.#filled + part.length, this.#length)
    this.#buffer.set(part, this.#filled)
    this.#filled += part.length
    at += part.length
    if (this.#filled < this.#length) return { next: at, frame: undefined }
    const frame = this.#buffer.subarray(0, this.#length)
    this.#length = undefined
    this.#headFilled = 0
    return { next: at, frame }
  }

  #begin(length: number): void {
    if (length === 0 || length > this.#bytesMax) throw new FrameLengthError(length)
    this.#length = length
    this.#filled = 0
    this.#buffer = new Uint8Array(Math.min(length, FIRST_BUFFER_BYTES))
  }

  #grow(needed: number, length: number): void {
    if (needed <= this.#buffer.length) return
    const larger = new Uint8Array(Math.min(length, Math.max(needed, 2 * this.#buffer.length)))
    larger.set(this.#buffer.subarray(0, this.#filled))
    this.#buffer = larger
  }
}
