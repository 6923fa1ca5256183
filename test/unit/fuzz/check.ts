/** What holds for every decoder, whatever the bytes. */
import { CodedError } from '../../../src/core/coded-error.ts'
import { faultCatalog } from '../../../src/gateway/fault-catalog.ts'
import type { FuzzedDecoder } from './decoders.ts'

/** Decoding the largest structure takes a tenth of this on the slowest machine tried; more is work out of all proportion. */
const TIME_MS_MAX = 3_000
/** No decoder keeps more than a few times its input; samples here are under 100 kB. */
const MEMORY_BYTES_MAX = 64 * 1024 * 1024

/**
 * Decodes, and throws where a rule is broken: only coded faults with a row in the tables, no second encoding of a value, the input
 * unchanged, bounded time and memory.
 */
export function checkDecoder(decoder: FuzzedDecoder, bytes: Uint8Array): 'accepted' | 'refused' {
  const given = bytes.slice()
  const memory = process.memoryUsage().arrayBuffers
  const startMs = performance.now()
  const outcome = decoded(decoder, bytes)
  const tookMs = performance.now() - startMs
  const hex = (): string => `${decoder.name}(${Buffer.from(given).toString('hex')})`
  if (tookMs > TIME_MS_MAX) throw new Error(`${tookMs.toFixed(0)} ms: ${hex()}`)
  if (process.memoryUsage().arrayBuffers - memory > MEMORY_BYTES_MAX) throw new Error(`too much memory: ${hex()}`)
  if (Buffer.compare(bytes, given) !== 0) throw new Error(`changed its input: ${hex()}`)
  if (typeof outcome === 'string') return outcome
  if (Buffer.compare(outcome, given) !== 0) throw new Error(`accepted, and encoded otherwise: ${hex()}`)
  return 'accepted'
}

function decoded(decoder: FuzzedDecoder, bytes: Uint8Array): Uint8Array | 'accepted' | 'refused' {
  try {
    return decoder.run(bytes)
  } catch (error) {
    if (error instanceof CodedError && Object.hasOwn(faultCatalog, error.fault.code)) return 'refused'
    throw new Error(`${decoder.name}(${Buffer.from(bytes).toString('hex')})`, { cause: error })
  }
}
