/**
 * Reads canonical dag-cbor in one pass: shortest heads, definite lengths, keys sorted and each once, texts of valid UTF-8, no floats.
 * What passes is exactly what `@ipld/dag-cbor` would encode to the same bytes; test/unit/core/codec.test.ts holds the two against
 * each other.
 *
 * Faults of the structure end the reading at once. Those of the meaning are noted, and the reading goes on to the end: whether the
 * bytes are an item at all comes before whether it is canonical.
 */
import { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import { CodecError } from './codec-fault.ts'
import { CBOR_DEPTH_MAX, CBOR_ITEMS_MAX } from './limits.ts'

const MAJOR_UNSIGNED = 0
const MAJOR_NEGATIVE = 1
const MAJOR_BYTES = 2
const MAJOR_TEXT = 3
const MAJOR_ARRAY = 4
const MAJOR_MAP = 5
const MAJOR_TAG = 6
const MAJOR_SIMPLE = 7
/** The only tag of DAG-CBOR: a CID. */
const TAG_CID = 42
const SIMPLE_FALSE = 20
const SIMPLE_TRUE = 21
const SIMPLE_NULL = 22
/** Shorter texts are made character by character, which costs less than a call of the decoder. */
const SHORT_TEXT_BYTES = 24
/** Names of fields, by a hash of their bytes: most are read again and again, and need not be made each time. */
const namesRead: (string | undefined)[] = Array.from({ length: 1_024 })
const utf8 = new TextEncoder()
/** Replaces what is no UTF-8, and drops a byte order mark: such a text differs from its bytes. */
const utf8Decoder = new TextDecoder()

/** What is wrong with the meaning; the graver one counts. */
type Refusal = 'not-canonical' | 'malformed'

export class CborReader {
  readonly #bytes: Uint8Array
  readonly #isView: boolean
  #at = 0
  #items = 0
  #refusal: Refusal | undefined
  /** Of the text that was read last: where its bytes begin. */
  #textAt = 0

  /** @param isView - byte strings are views of `bytes`, which must not change while they are used; else copies. */
  constructor(bytes: Uint8Array, isView: boolean) {
    this.#bytes = bytes
    this.#isView = isView
  }

  /**
   * @returns the one item that the bytes are.
   * @throws {CodecError} `CODEC_TOO_DEEP`, `CODEC_TOO_MANY_ITEMS`, `CODEC_MALFORMED`, `CODEC_NOT_CANONICAL`
   */
  whole(): unknown {
    const value = this.#item(0)
    if (this.#at !== this.#bytes.length) throw malformed(this.#at)
    if (this.#refusal === 'malformed') throw malformed(0)
    if (this.#refusal === 'not-canonical') throw new CodecError({ code: 'CODEC_NOT_CANONICAL' })
    return value
  }

  /** @param level - how many containers are around it. */
  #item(level: number): unknown {
    if (++this.#items > CBOR_ITEMS_MAX) throw new CodecError({ code: 'CODEC_TOO_MANY_ITEMS', itemsMax: CBOR_ITEMS_MAX })
    const headAt = this.#at
    const first = this.#bytes[headAt]
    if (first === undefined) throw malformed(headAt)
    const major = first >> 5
    const argument = this.#argument(first)
    switch (major) {
      case MAJOR_UNSIGNED:
        return argument <= Number.MAX_SAFE_INTEGER ? argument : this.#bigArgument()
      case MAJOR_NEGATIVE:
        return argument < Number.MAX_SAFE_INTEGER ? -1 - argument : -1n - this.#bigArgument()
      case MAJOR_BYTES:
        return this.#byteString(argument)
      case MAJOR_TEXT:
        return this.#text(argument)
      case MAJOR_ARRAY:
        return this.#array(argument, level)
      case MAJOR_MAP:
        return this.#map(argument, level)
      case MAJOR_TAG:
        return this.#link(argument, level)
      default:
        if (argument === SIMPLE_NULL) return null
        if (argument < SIMPLE_FALSE || argument > SIMPLE_NULL) throw malformed(this.#at)
        return argument === SIMPLE_TRUE
    }
  }

  /** Of the head that begins with this byte, in the shortest form only; may be inexact above 2^53. */
  #argument(first: number): number {
    const at = this.#at
    const info = first & 0x1f
    if (info < 24) {
      this.#at = at + 1
      return info
    }
    // 28 to 31: reserved, or indefinite length. Major 7 with more bytes: floats and unassigned simple values.
    if (info > 27 || first >> 5 === MAJOR_SIMPLE) throw malformed(at)
    const size = 1 << (info - 24)
    const end = at + 1 + size
    if (end > this.#bytes.length) throw malformed(at)
    let argument = 0
    for (let index = at + 1; index < end; index++) argument = argument * 256 + (this.#bytes[index] ?? 0)
    const shortest = size === 1 ? 24 : 2 ** (size * 4)
    if (argument < shortest) throw new CodecError({ code: 'CODEC_NOT_CANONICAL' })
    this.#at = end
    return argument
  }

  /** The last 8 bytes, as a number that is too large for the other form. */
  #bigArgument(): bigint {
    return new DataView(this.#bytes.buffer, this.#bytes.byteOffset + this.#at - 8, 8).getBigUint64(0)
  }

  /** Moves behind so many bytes of a string. @returns where they begin */
  #take(length: number): number {
    const from = this.#at
    if (length > this.#bytes.length - from) throw malformed(from)
    this.#at = from + length
    return from
  }

  #byteString(length: number): Uint8Array {
    const from = this.#take(length)
    // Not `subarray` and `slice`: those of a Buffer give Buffers, and its `slice` copies nothing.
    const view = new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + from, length)
    return this.#isView ? view : new Uint8Array(view)
  }

  #text(length: number): string {
    const from = this.#take(length)
    this.#textAt = from
    if (length > SHORT_TEXT_BYTES) return this.#longText(from, length)
    const bytes = this.#bytes
    const slot = (length * 31 + (bytes[from] ?? 0) * 7 + (bytes[from + (length >> 1)] ?? 0) * 17) & 1_023
    const known = namesRead[slot]
    if (known?.length === length && isText(known, bytes, from)) return known
    let text = ''
    for (let index = from; index < from + length; index++) {
      const code = bytes[index] ?? 0
      if (code >= 0x80) return this.#longText(from, length)
      text += String.fromCharCode(code)
    }
    namesRead[slot] = text
    return text
  }

  #longText(from: number, length: number): string {
    const view = new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + from, length)
    const text = utf8Decoder.decode(view)
    if (text.length !== length || !isText(text, this.#bytes, from)) {
      if (!equals(utf8.encode(text), view)) this.#refuse('not-canonical')
    }
    return text
  }

  #array(length: number, level: number): unknown[] {
    this.#enter(length, level)
    const array: unknown[] = []
    for (let index = 0; index < length; index++) array.push(this.#item(level + 1))
    return array
  }

  #map(length: number, level: number): Record<string, unknown> {
    this.#enter(length * 2, level)
    const map: Record<string, unknown> = {}
    let beforeAt = 0
    let beforeLength = -1
    for (let index = 0; index < length; index++) {
      const key = this.#item(level + 1)
      const keyAt = this.#textAt
      const keyLength = this.#at - keyAt
      if (typeof key !== 'string') this.#refuse('malformed')
      else if (!this.#isSorted(beforeAt, beforeLength, keyAt, keyLength)) this.#refuse('not-canonical')
      beforeAt = keyAt
      beforeLength = keyLength
      // Texts that aren't UTF-8 may become one key.
      if (this.#refusal !== undefined && typeof key === 'string' && Object.hasOwn(map, key)) this.#refuse('malformed')
      const value = this.#item(level + 1)
      if (key === '__proto__') {
        Object.defineProperty(map, key, { value, configurable: true, enumerable: true, writable: true })
      } else if (typeof key === 'string') map[key] = value
    }
    const slash = map['/']
    // What the encoder takes for a CID, and fails on.
    if (slash !== undefined && slash !== null && slash === map['bytes']) this.#refuse('malformed')
    return map
  }

  /** Shorter keys first, then by their bytes. */
  #isSorted(beforeAt: number, beforeLength: number, at: number, length: number): boolean {
    if (beforeLength !== length) return beforeLength < length
    for (let index = 0; index < length; index++) {
      const difference = (this.#bytes[beforeAt + index] ?? 0) - (this.#bytes[at + index] ?? 0)
      if (difference !== 0) return difference < 0
    }
    return false
  }

  #link(tag: number, level: number): CID | undefined {
    if (tag !== TAG_CID) throw malformed(this.#at)
    this.#enter(1, level)
    const bytes = this.#item(level + 1)
    try {
      if (bytes instanceof Uint8Array && bytes[0] === 0) {
        const inner = bytes.subarray(1)
        const link = CID.decode(inner)
        // Its parts are numbers of variable length, which have longer forms.
        if (!equals(link.bytes, inner)) this.#refuse('not-canonical')
        return link
      }
    } catch {
      // Refused below.
    }
    this.#refuse('malformed')
    return undefined
  }

  /** Before the items of a container. */
  #enter(children: number, level: number): void {
    // Every child takes a byte at least: a length that can't be true is refused before anything is allocated for it.
    if (children > this.#bytes.length - this.#at) throw malformed(this.#at)
    if (children > 0 && level + 1 > CBOR_DEPTH_MAX) {
      throw new CodecError({ code: 'CODEC_TOO_DEEP', depthMax: CBOR_DEPTH_MAX })
    }
  }

  #refuse(refusal: Refusal): void {
    if (this.#refusal !== 'malformed') this.#refusal = refusal
  }
}

/** Whether these bytes are the text, one ASCII character each. */
function isText(text: string, bytes: Uint8Array, from: number): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code >= 0x80 || code !== bytes[from + index]) return false
  }
  return true
}

function malformed(offset: number): CodecError {
  return new CodecError({ code: 'CODEC_MALFORMED', offset })
}
