/** Reads a pinned vector file of this folder. */
import { readFileSync } from 'node:fs'

/** @returns the parsed file, taken at its word: a wrong shape fails the test that uses it. */
export function loadVectors<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`${name}.json`, import.meta.url), 'utf8')) as T
}

export function bytesOfHex(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'))
}

export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')
}
