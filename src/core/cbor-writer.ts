/**
 * Writes canonical dag-cbor: what `@ipld/dag-cbor` writes for the same value, less what no Apotheca structure has (floats, `Map`s, views
 * of other element types), in one pass over the value.
 */
import { CID } from 'multiformats/cid'
import { compare } from 'uint8arrays/compare'
import { CodecError } from './codec-fault.ts'
import { CBOR_DEPTH_MAX, CBOR_ITEMS_MAX } from './limits.ts'

const HEAD_UNSIGNED = 0 << 5
const HEAD_NEGATIVE = 1 << 5
const HEAD_BYTES = 2 << 5
const HEAD_TEXT = 3 << 5
const HEAD_ARRAY = 4 << 5
const HEAD_MAP = 5 << 5
/** Tag 42. */
const HEAD_LINK = [0xd8, 0x2a] as const
const FALSE = 0xf4
const TRUE = 0xf5
const NULL = 0xf6
const BYTE_ORDER_MARK = '\ufeff'
const PLAIN = '[object Object]'
const HEAD_BYTES_MAX = 9
const UINT64_MAX = 2n ** 64n - 1n
/** Longer texts are encoded by the platform, which costs a call. */
const SHORT_TEXT = 64
/** Kept between calls: most structures fit in. */
const SCRATCH_BYTES = 64 * 1024
const scratch = new Uint8Array(SCRATCH_BYTES)
/** Keys as they are written; most are names of fields, and come again and again. */
const KEYS_KEPT_MAX = 1_024
const keysKept = new Map<string, Uint8Array>()
const utf8 = new TextEncoder()

/**
 * @throws {CodecError} `CODEC_MALFORMED` at a float, a text that begins with a byte order mark, or what is taken for a CID; the limits
 * @throws {TypeError} for a kind of value that is not supported
 */
export function writeCanonical(value: unknown): Uint8Array {
  const writer = new CborWriter(scratch)
  writer.item(value, 0)
  return writer.taken()
}

class CborWriter {
  #bytes: Uint8Array
  #at = 0
  #items = 0

  /** @param room - written over, and replaced where it is too small. */
  constructor(room: Uint8Array) {
    this.#bytes = room
  }

  /** A copy of what was written. */
  taken(): Uint8Array {
    return this.#bytes.slice(0, this.#at)
  }

  /** @param level - how many containers are around it. */
  item(value: unknown, level: number): void {
    this.#count(1)
    switch (typeof value) {
      case 'string':
        this.#text(value)
        return
      case 'number':
        this.#number(value)
        return
      case 'boolean':
        this.#byte(value ? TRUE : FALSE)
        return
      case 'bigint':
        this.#bigint(value)
        return
      case 'object':
        if (value === null) this.#byte(NULL)
        else if (value instanceof Uint8Array) this.#byteString(value)
        else if (Array.isArray(value)) this.#array(value, level)
        else this.#object(value, level)
        return
      default:
        throw unsupported(typeof value)
    }
  }

  #number(value: number): void {
    if (Number.isSafeInteger(value)) {
      if (value >= 0) this.#head(HEAD_UNSIGNED, value)
      else this.#head(HEAD_NEGATIVE, -1 - value)
      return
    }
    if (!Number.isFinite(value)) throw unsupported(String(value))
    throw new CodecError({ code: 'CODEC_MALFORMED', offset: this.#at })
  }

  #bigint(value: bigint): void {
    const isNegative = value < 0n
    const argument = isNegative ? -1n - value : value
    if (argument > UINT64_MAX) throw unsupported('an integer larger than 64 bits')
    const major = isNegative ? HEAD_NEGATIVE : HEAD_UNSIGNED
    if (argument <= BigInt(Number.MAX_SAFE_INTEGER)) {
      this.#head(major, Number(argument))
      return
    }
    this.#room(HEAD_BYTES_MAX)
    this.#bytes[this.#at] = major | 27
    new DataView(this.#bytes.buffer).setBigUint64(this.#at + 1, argument)
    this.#at += HEAD_BYTES_MAX
  }

  #byteString(value: Uint8Array): void {
    this.#head(HEAD_BYTES, value.length)
    this.#raw(value)
  }

  #text(value: string): void {
    if (value.length <= SHORT_TEXT && this.#shortText(value)) return
    // Decoders drop it, here and elsewhere: such a text would not come back.
    if (value.startsWith(BYTE_ORDER_MARK)) throw new CodecError({ code: 'CODEC_MALFORMED', offset: this.#at })
    const bytes = utf8.encode(value)
    this.#head(HEAD_TEXT, bytes.length)
    this.#raw(bytes)
  }

  /** @returns false, and nothing is written, where it isn't ASCII. */
  #shortText(value: string): boolean {
    const before = this.#at
    this.#head(HEAD_TEXT, value.length)
    this.#room(value.length)
    const bytes = this.#bytes
    let at = this.#at
    for (let index = 0; index < value.length; index++) {
      const code = value.charCodeAt(index)
      if (code >= 0x80) {
        this.#at = before
        return false
      }
      bytes[at++] = code
    }
    this.#at = at
    return true
  }

  #array(value: readonly unknown[], level: number): void {
    this.#head(HEAD_ARRAY, value.length)
    if (value.length > 0) enter(level)
    for (const one of value) this.item(one, level + 1)
  }

  #object(value: object, level: number): void {
    const link = CID.asCID(value)
    if (link !== null) {
      // Not one, but a map that looks like one to every IPLD library.
      if (!(link.bytes instanceof Uint8Array)) throw new CodecError({ code: 'CODEC_MALFORMED', offset: this.#at })
      this.#link(link, level)
      return
    }
    const kind = Object.getPrototypeOf(value) === Object.prototype ? PLAIN : Object.prototype.toString.call(value)
    if (kind !== PLAIN) throw unsupported(kind)
    this.#map(value as Readonly<Record<string, unknown>>, level)
  }

  #map(value: Readonly<Record<string, unknown>>, level: number): void {
    const names = Object.keys(value)
    this.#head(HEAD_MAP, names.length)
    if (names.length === 0) return
    enter(level)
    this.#count(names.length)
    const keys: Key[] = []
    let isSorted = true
    for (const name of names) {
      const bytes = keyBytes(name)
      const before = keys.at(-1)
      if (before !== undefined && compare(before.bytes, bytes) > 0) isSorted = false
      keys.push({ name, bytes })
    }
    // Heads hold the length: the bytes sort shorter keys first.
    if (!isSorted) keys.sort((one, other) => compare(one.bytes, other.bytes))
    for (const { bytes, name } of keys) {
      this.#raw(bytes)
      this.item(value[name], level + 1)
    }
  }

  #link(link: CID, level: number): void {
    enter(level)
    this.#count(1)
    for (const byte of HEAD_LINK) this.#byte(byte)
    // A zero before it, for historical reasons.
    this.#head(HEAD_BYTES, link.bytes.length + 1)
    this.#byte(0)
    this.#raw(link.bytes)
  }

  /** @param argument - a safe integer, not negative. */
  #head(major: number, argument: number): void {
    this.#room(HEAD_BYTES_MAX)
    const bytes = this.#bytes
    if (argument < 24) {
      bytes[this.#at++] = major | argument
      return
    }
    const size = argument < 0x100 ? 1 : argument < 0x1_0000 ? 2 : argument < 0x1_0000_0000 ? 4 : 8
    bytes[this.#at] = major | (size === 1 ? 24 : size === 2 ? 25 : size === 4 ? 26 : 27)
    let rest = argument
    for (let index = this.#at + size; index > this.#at; index--) {
      bytes[index] = rest % 256
      rest = Math.floor(rest / 256)
    }
    this.#at += 1 + size
  }

  #byte(byte: number): void {
    this.#room(1)
    this.#bytes[this.#at++] = byte
  }

  #raw(bytes: Uint8Array): void {
    this.#room(bytes.length)
    this.#bytes.set(bytes, this.#at)
    this.#at += bytes.length
  }

  #room(bytes: number): void {
    const needed = this.#at + bytes
    if (needed <= this.#bytes.length) return
    const larger = new Uint8Array(Math.max(needed, 2 * this.#bytes.length))
    larger.set(this.#bytes.subarray(0, this.#at))
    this.#bytes = larger
  }

  #count(items: number): void {
    this.#items += items
    if (this.#items > CBOR_ITEMS_MAX) throw new CodecError({ code: 'CODEC_TOO_MANY_ITEMS', itemsMax: CBOR_ITEMS_MAX })
  }
}

interface Key {
  readonly name: string
  readonly bytes: Uint8Array
}

function enter(level: number): void {
  if (level + 1 > CBOR_DEPTH_MAX) throw new CodecError({ code: 'CODEC_TOO_DEEP', depthMax: CBOR_DEPTH_MAX })
}

/** A key with its head. */
function keyBytes(name: string): Uint8Array {
  const known = keysKept.get(name)
  if (known !== undefined) return known
  const writer = new CborWriter(new Uint8Array(HEAD_BYTES_MAX + 3 * name.length))
  writer.item(name, 0)
  const bytes = writer.taken()
  if (keysKept.size < KEYS_KEPT_MAX) keysKept.set(name, bytes)
  return bytes
}

function unsupported(what: string): TypeError {
  return new TypeError(`${what} is not supported in canonical CBOR`)
}
