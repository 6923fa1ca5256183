/** How much each storage peer holds, as far as the ledger knows: the columns that name it, counted where they change. */
import { type Decoded, integer, object } from '../core/schema.ts'
import type { StateChange, StateView } from '../ledger/state.ts'
import { byteCount, uint16Bytes } from './storage-state.ts'

/** Key = number of a storage peer; value = what it holds; absent: nothing. */
export const HELD_NAMESPACE = 'storage-held'

const held = object({ columns: integer(0), bytes: byteCount })
export type Held = Decoded<typeof held>

export async function getHeld(view: StateView, number: number): Promise<Held> {
  const value = await view.get(HELD_NAMESPACE, uint16Bytes(number))
  return value === undefined ? { columns: 0, bytes: 0 } : held(value, 'storage-held')
}

/** Columns that came and went within one transaction. */
export class HeldChanges {
  readonly #deltas = new Map<number, { columns: number; bytes: number }>()

  add(number: number, bytes: number): void {
    this.#change(number, 1, bytes)
  }

  remove(number: number, bytes: number): void {
    this.#change(number, -1, -bytes)
  }

  async changes(view: StateView): Promise<StateChange[]> {
    const changes: StateChange[] = []
    for (const [number, delta] of this.#deltas) {
      if (delta.columns === 0 && delta.bytes === 0) continue
      const before = await getHeld(view, number)
      const columns = before.columns + delta.columns
      const value = columns === 0 ? undefined : { columns, bytes: before.bytes + delta.bytes }
      changes.push({ namespace: HELD_NAMESPACE, key: uint16Bytes(number), value })
    }
    return changes
  }

  #change(number: number, columns: number, bytes: number): void {
    const delta = this.#deltas.get(number) ?? { columns: 0, bytes: 0 }
    this.#deltas.set(number, { columns: delta.columns + columns, bytes: delta.bytes + bytes })
  }
}
