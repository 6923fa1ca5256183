/**
 * Hand-written schemas for decoded structures. A decoder takes an unknown value and its path, and either returns the
 * typed value or throws `CODEC_SHAPE` with the path. Objects have exactly the fields named: an unknown field is refused,
 * since two peers that ignore different fields would disagree on a hash.
 */
import { CID } from 'multiformats/cid'
import { CodecError } from './codec.ts'

export type Decoder<T> = (value: unknown, path: string) => T
export type Decoded<D> = D extends Decoder<infer T> ? T : never

/** An optional field of `object`. */
export interface Optional<T> {
  readonly optional: Decoder<T>
}

type Fields = Readonly<Record<string, Decoder<unknown> | Optional<unknown>>>
type RequiredKeys<F extends Fields> = { [K in keyof F]: F[K] extends Optional<unknown> ? never : K }[keyof F]
type OptionalKeys<F extends Fields> = Exclude<keyof F, RequiredKeys<F>>
type Value<F> = F extends Decoder<infer T> ? T : F extends Optional<infer T> ? T : never
export type ObjectOf<F extends Fields> = { readonly [K in RequiredKeys<F>]: Value<F[K]> } & {
  readonly [K in OptionalKeys<F>]?: Value<F[K]>
}

export function shapeFault(path: string, expected: string): CodecError {
  return new CodecError({ code: 'CODEC_SHAPE', path, expected })
}

/** A safe integer in `[min, max]`. */
export function integer(min: number, max: number = Number.MAX_SAFE_INTEGER): Decoder<number> {
  return (value, path) => {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
      throw shapeFault(path, `an integer from ${min} to ${max}`)
    }
    return value
  }
}

/** A string of `min` to `max` UTF-16 units; `pattern` must match the whole. */
export function text(min: number, max: number, pattern?: RegExp): Decoder<string> {
  return (value, path) => {
    if (typeof value !== 'string' || value.length < min || value.length > max) {
      throw shapeFault(path, `a string of ${min} to ${max} characters`)
    }
    if (pattern !== undefined && !pattern.test(value)) throw shapeFault(path, `a string like ${pattern.source}`)
    return value
  }
}

/** Bytes of `min` to `max` length. */
export function byteString(min: number, max: number = min): Decoder<Uint8Array> {
  return (value, path) => {
    if (!(value instanceof Uint8Array) || value.length < min || value.length > max) {
      throw shapeFault(path, min === max ? `${min} bytes` : `${min} to ${max} bytes`)
    }
    return value
  }
}

export const boolean: Decoder<boolean> = (value, path) => {
  if (typeof value !== 'boolean') throw shapeFault(path, 'true or false')
  return value
}

export function literal<const T extends string | number | boolean>(...allowed: readonly T[]): Decoder<T> {
  return (value, path) => {
    const found = allowed.find((one) => one === value)
    if (found === undefined) throw shapeFault(path, `one of ${allowed.join(', ')}`)
    return found
  }
}

/** A CIDv1 with sha2-256; `codec` is the multicodec of the block (0x71 dag-cbor, 0x70 dag-pb, 0x55 raw). */
export function cid(...codecs: readonly number[]): Decoder<CID> {
  return (value, path) => {
    const link = CID.asCID(value)
    if (link === null || link.version !== 1 || link.multihash.code !== 0x12 || link.multihash.size !== 32) {
      throw shapeFault(path, 'a CIDv1 with sha2-256')
    }
    if (codecs.length > 0 && !codecs.includes(link.code)) {
      throw shapeFault(path, `a CID of codec ${codecs.map((code) => `0x${code.toString(16)}`).join(' or ')}`)
    }
    return link
  }
}

export function list<T>(item: Decoder<T>, min: number, max: number): Decoder<readonly T[]> {
  return (value, path) => {
    if (!Array.isArray(value) || value.length < min || value.length > max) {
      throw shapeFault(path, `a list of ${min} to ${max}`)
    }
    return value.map((one: unknown, index) => item(one, `${path}[${index}]`))
  }
}

export function nullable<T>(item: Decoder<T>): Decoder<T | null> {
  return (value, path) => (value === null ? null : item(value, path))
}

export function optional<T>(item: Decoder<T>): Optional<T> {
  return { optional: item }
}

/** An object with exactly these fields. */
export function object<const F extends Fields>(fields: F): Decoder<ObjectOf<F>> {
  const names = new Set(Object.keys(fields))
  return (value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Uint8Array) {
      throw shapeFault(path, 'an object')
    }
    if (CID.asCID(value) !== null) throw shapeFault(path, 'an object')
    const given = value as Readonly<Record<string, unknown>>
    for (const name of Object.keys(given)) {
      if (!names.has(name)) throw shapeFault(`${path}.${name}`, 'no field of this name')
    }
    const result: Record<string, unknown> = {}
    for (const [name, field] of Object.entries(fields)) {
      const present = Object.hasOwn(given, name)
      if (typeof field === 'function') {
        if (!present) throw shapeFault(`${path}.${name}`, 'this field')
        result[name] = field(given[name], `${path}.${name}`)
      } else if (present) {
        result[name] = field.optional(given[name], `${path}.${name}`)
      }
    }
    return result as ObjectOf<F>
  }
}
