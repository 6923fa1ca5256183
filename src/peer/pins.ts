/**
 * What users keep on this peer: content that was fetched with `--keep`, and roots of CARs that aren't objects. All that is below a pinned
 * CID and here stays, whatever the ledger says, until it is unpinned; an erasure alone goes over it.
 */
import type { CID } from 'multiformats/cid'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { PINS_MAX } from '../core/limits.ts'
import type { Clock, KeyValueStore } from '../core/ports.ts'
import { type Decoded, cid as cidOf, object } from '../core/schema.ts'
import { timeMs } from '../ledger/fields.ts'
import { PeerError } from './faults.ts'

const storedPin = object({ cid: cidOf(), sinceMs: timeMs })
export type Pin = Decoded<typeof storedPin>

const FIRST = new Uint8Array(0)
/** Keys are CIDs behind a byte of 0. */
const LAST = Uint8Array.of(1)

export class Pins {
  readonly #deps: { readonly state: KeyValueStore; readonly clock: Clock }
  readonly #pins = new Map<string, Pin>()

  private constructor(deps: { readonly state: KeyValueStore; readonly clock: Clock }) {
    this.#deps = deps
  }

  /** @param deps.state - this object's alone. */
  static async open(deps: { readonly state: KeyValueStore; readonly clock: Clock }): Promise<Pins> {
    const pins = new Pins(deps)
    for await (const { value } of deps.state.range({ from: FIRST, to: LAST })) {
      const pin = storedPin(decodeCanonical(value), 'pin')
      pins.#pins.set(pin.cid.toString(), pin)
    }
    return pins
  }

  /** In the order of their coming. */
  list(): readonly Pin[] {
    return [...this.#pins.values()].toSorted((a, b) => a.sinceMs - b.sinceMs)
  }

  /**
   * Durable when settled; called before what is to be kept is fetched.
   *
   * @returns whether it is new. @throws {PeerError} `PINS_TOO_MANY`
   */
  async add(cid: CID): Promise<boolean> {
    const name = cid.toString()
    if (this.#pins.has(name)) return false
    if (this.#pins.size >= PINS_MAX) throw new PeerError({ code: 'PINS_TOO_MANY', pinsMax: PINS_MAX })
    const pin = { cid, sinceMs: this.#deps.clock.nowMs() }
    this.#pins.set(name, pin)
    await this.#deps.state.batch([{ key: keyOf(cid), value: encodeCanonical(pin) }])
    return true
  }

  /**
   * Pins a CID while its content is fetched, and lets it go again where there is none.
   *
   * @throws {PeerError} `PINS_TOO_MANY`; what `fetch` throws
   */
  async while<T>(cid: CID, fetch: () => Promise<T>): Promise<T> {
    const isNew = await this.add(cid)
    try {
      return await fetch()
    } catch (error) {
      if (isNew) await this.remove(cid)
      throw error
    }
  }

  /** @returns whether it was pinned. */
  async remove(cid: CID): Promise<boolean> {
    if (!this.#pins.has(cid.toString())) return false
    await this.#deps.state.batch([{ key: keyOf(cid), value: undefined }])
    return this.#pins.delete(cid.toString())
  }
}

function keyOf(cid: CID): Uint8Array {
  return Uint8Array.of(0, ...cid.bytes)
}
