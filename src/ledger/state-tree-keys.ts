/**
 * Keys of what the stored state tree keeps. Versions come first in them: what a block writes lies together at the end of the
 * database, where LevelDB has least to merge.
 *
 * @see docs/spec/state-tree.md
 */
import { keyOf, readUint64, setUint64, uint64Bytes } from './state.ts'

const letter = (one: string): Uint8Array => new Uint8Array([one.charCodeAt(0)])

const PAGE = letter('n')
const ROOT = letter('o')
const VALUE = letter('v')
const STALE = letter('x')
const HELD = letter('z')
/** Which versions are kept: see state-tree-prune.ts. */
export const KEPT_KEY: Uint8Array = letter('y')
/** A snapshot that is being taken over: see snapshot-builder.ts. */
export const PROGRESS_KEY: Uint8Array = letter('w')

/** First byte of every key of the tree and of the flat state (`s`): what a snapshot replaces. */
export const STATE_TAGS: readonly Uint8Array[] = [PAGE, ROOT, letter('s'), VALUE, STALE, KEPT_KEY, HELD]

const NIBBLE_BITS = 4
const VERSION_BYTES = 8
/** Letter, version, number of nibbles. */
const PAGE_HEAD_BYTES = 2 + VERSION_BYTES

/** Entries of `range`, both bounds below the next letter. */
export interface KeyBounds {
  readonly from: Uint8Array
  readonly to: Uint8Array
}

/** Nibble `index` of a tree key, the first one first. */
export function nibbleOf(key: Uint8Array, index: number): number {
  const byte = key[index >> 1] ?? 0
  return index % 2 === 0 ? byte >> NIBBLE_BITS : byte & 0x0f
}

/**
 * Of the page whose way from the root is the first nibbles of a tree key.
 *
 * @param nibbles - 0 (the page at the root) to 63.
 */
export function pageKey(version: number, key: Uint8Array, nibbles: number): Uint8Array {
  const whole = nibbles >> 1
  const page = new Uint8Array(PAGE_HEAD_BYTES + ((nibbles + 1) >> 1))
  page.set(PAGE)
  setUint64(page, 1, version)
  page[1 + VERSION_BYTES] = nibbles
  page.set(key.subarray(0, whole), PAGE_HEAD_BYTES)
  if (nibbles % 2 === 1) page[PAGE_HEAD_BYTES + whole] = (key[whole] ?? 0) & 0xf0
  return page
}

/** How many nibbles lead to the page of a key; in `pageName` each byte is a character. */
export const PAGE_NIBBLES_AT: number = 1 + VERSION_BYTES

/** Of the root record that a version wrote. */
export function rootKey(version: number): Uint8Array {
  return keyOf(ROOT, uint64Bytes(version))
}

/** Of the entry (namespace, key, value) that a version wrote. */
export function valueKey(version: number, key: Uint8Array): Uint8Array {
  const value = new Uint8Array(1 + VERSION_BYTES + key.length)
  value.set(VALUE)
  setUint64(value, 1, version)
  value.set(key, 1 + VERSION_BYTES)
  return value
}

/** Of the list of what no version from this one on needs. */
export function staleKey(version: number): Uint8Array {
  return keyOf(STALE, uint64Bytes(version))
}

/** Of the part of such a list that a kept version still needs. */
export function heldKey(keptVersion: number, version: number): Uint8Array {
  return keyOf(HELD, uint64Bytes(keptVersion), uint64Bytes(version))
}

/** Root records of the versions up to this one. */
export function rootsUpTo(version: number): KeyBounds {
  return { from: ROOT, to: rootKey(version + 1) }
}

export function staleUpTo(version: number): KeyBounds {
  return { from: STALE, to: staleKey(version + 1) }
}

/** What is held for versions below this one. */
export function heldBelow(keptVersion: number): KeyBounds {
  return { from: HELD, to: keyOf(HELD, uint64Bytes(keptVersion)) }
}

export function allOf(tag: Uint8Array): KeyBounds {
  return { from: tag, to: new Uint8Array([(tag[0] ?? 0) + 1]) }
}

/** The version in a key of a page, a root or a value; the last in that of a stale or held list. */
export function versionIn(key: Uint8Array): number {
  return readUint64(key, 1)
}

export function lastVersionIn(key: Uint8Array): number {
  return readUint64(key, key.length - VERSION_BYTES)
}

/** Keys one after the other, each behind its length in one byte. */
export function encodeKeyList(keys: readonly Uint8Array[]): Uint8Array {
  const list = new Uint8Array(keys.reduce((bytes, key) => bytes + 1 + key.length, 0))
  let at = 0
  for (const key of keys) {
    list[at] = key.length
    list.set(key, at + 1)
    at += 1 + key.length
  }
  return list
}

/** @returns `undefined` where the bytes are no such list. */
export function decodeKeyList(bytes: Uint8Array): Uint8Array[] | undefined {
  const keys: Uint8Array[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + (bytes[at] ?? 0)
    // Every key has a letter and a version.
    if (end > bytes.length || end - at < 2 + VERSION_BYTES) return undefined
    keys.push(bytes.slice(at + 1, end))
    at = end
  }
  return keys
}
