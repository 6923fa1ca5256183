/**
 * How storage runs on a chain: times and sizes that the genesis may set, each within bounds, else the default. `STORAGE_PARAMS` in
 * core/limits.ts says what each means.
 *
 * @see docs/spec/genesis.md
 */
import { STORAGE_PARAMS } from '../core/limits.ts'
import { type Decoder, integer, object, optional, shapeFault } from '../core/schema.ts'

export type StorageParams = { readonly [K in keyof typeof STORAGE_PARAMS]: number }

const within = ({ max, min }: { readonly min: number; readonly max: number }) => optional(integer(min, max))

const someParams: Decoder<Partial<StorageParams>> = object({
  auditMs: within(STORAGE_PARAMS.auditMs),
  orphanMs: within(STORAGE_PARAMS.orphanMs),
  leaseMs: within(STORAGE_PARAMS.leaseMs),
  leaseMaxMs: within(STORAGE_PARAMS.leaseMaxMs),
  quotaMib: within(STORAGE_PARAMS.quotaMib),
  layoutMs: within(STORAGE_PARAMS.layoutMs),
  silentMs: within(STORAGE_PARAMS.silentMs),
})

export const storageParams: Decoder<Partial<StorageParams>> = (value, path) => {
  const given = someParams(value, path)
  const { leaseMaxMs, leaseMs } = completeStorageParams(given)
  if (leaseMs > leaseMaxMs) throw shapeFault(`${path}.leaseMs`, `at most leaseMaxMs, ${leaseMaxMs}`)
  return given
}

export function completeStorageParams(given: Partial<StorageParams>): StorageParams {
  return {
    auditMs: given.auditMs ?? STORAGE_PARAMS.auditMs.default,
    orphanMs: given.orphanMs ?? STORAGE_PARAMS.orphanMs.default,
    leaseMs: given.leaseMs ?? STORAGE_PARAMS.leaseMs.default,
    leaseMaxMs: given.leaseMaxMs ?? STORAGE_PARAMS.leaseMaxMs.default,
    quotaMib: given.quotaMib ?? STORAGE_PARAMS.quotaMib.default,
    layoutMs: given.layoutMs ?? STORAGE_PARAMS.layoutMs.default,
    silentMs: given.silentMs ?? STORAGE_PARAMS.silentMs.default,
  }
}
