/**
 * Columns that wait for repair, the most endangered first, with pauses for those that failed. What failed often comes after all that hasn't, and
 * makes room for it: nobody can see from outside whether an extent's map tells the truth, and some that nobody can repair would else keep
 * out all that can be. In memory: the ledger is looked through again.
 */
import type { Fault } from '../core/coded-error.ts'
import { REPAIR_QUEUE_MAX, REPAIR_RETRY_MS_MAX, REPAIR_RETRY_MS_MIN, REPAIR_TRIES_FRESH } from '../core/limits.ts'
import type { ExtentRef } from '../domain/storage-state.ts'
import { type Repair, compareRepairs, repairName } from '../shards/repair-order.ts'

export interface RepairItem {
  repair: Repair
  isRunning: boolean
  tries: number
  /** No sooner is it tried again. */
  dueMs: number
  /** When it was found. */
  readonly foundMs: number
  /** The ledger was told that the column is lost, or is being told. */
  isSaid: boolean
  doneBytes: number
  fault: Fault | undefined
}

export class RepairQueue {
  readonly #items = new Map<string, RepairItem>()
  /** Found, and no room for them here: the next look finds them again. */
  #unlisted = 0

  get size(): number {
    return this.#items.size
  }

  get unlisted(): number {
    return this.#unlisted
  }

  items(): IterableIterator<RepairItem> {
    return this.#items.values()
  }

  /** The first of these, in the order in which they are taken up. */
  first(repairs: readonly Repair[]): Repair[] {
    const tired = new Set<string>()
    for (const [name, item] of this.#items) if (isTired(item)) tired.add(name)
    const failed = (one: Repair): boolean => tired.size > 0 && tired.has(repairName(one))
    const ordered = [repairs.filter((one) => !failed(one)), repairs.filter(failed)]
    return ordered.flatMap((some) => some.toSorted(compareRepairs)).slice(0, REPAIR_QUEUE_MAX)
  }

  has(item: RepairItem): boolean {
    return this.#items.get(repairName(item.repair)) === item
  }

  /** Takes what a look through all of the ledger found in the place of what was there; what runs goes on. */
  replace(
    found: readonly Repair[],
    nowMs: number,
    options: { readonly keepsLost: boolean; readonly unlisted: number },
  ): void {
    const names = new Set(found.map(repairName))
    for (const [name, item] of this.#items) {
      if (names.has(name) || item.isRunning || (options.keepsLost && item.repair.reason === 'lost')) continue
      this.#items.delete(name)
    }
    this.#unlisted = options.unlisted
    for (const repair of found) this.#add(repair, nowMs)
    this.#cut()
  }

  /** The same for some extents. */
  replaceOf(refs: readonly ExtentRef[], found: readonly Repair[], nowMs: number): void {
    const looked = new Set(refs.map(extentName))
    const names = new Set(found.map(repairName))
    for (const [name, { isRunning, repair }] of this.#items) {
      if (!isRunning && looked.has(extentName(repair)) && !names.has(name)) this.#items.delete(name)
    }
    for (const repair of found) this.#add(repair, nowMs)
    this.#cut()
  }

  /** The next to be worked on. */
  next(nowMs: number): RepairItem | undefined {
    let best: RepairItem | undefined
    for (const item of this.#items.values()) {
      if (item.isRunning || item.dueMs > nowMs) continue
      if (best === undefined || compareItems(item, best) < 0) best = item
    }
    return best
  }

  /** When the next one's pause ends; `undefined`: nothing waits. */
  get dueMs(): number | undefined {
    let dueMs: number | undefined
    for (const item of this.#items.values()) if (!item.isRunning) dueMs = Math.min(dueMs ?? item.dueMs, item.dueMs)
    return dueMs
  }

  done(item: RepairItem): void {
    const name = repairName(item.repair)
    if (this.#items.get(name) === item) this.#items.delete(name)
  }

  /** @returns its pause, in milliseconds. */
  failed(item: RepairItem, fault: Fault | undefined, nowMs: number): number {
    item.fault = fault
    const pauseMs = Math.min(REPAIR_RETRY_MS_MAX, REPAIR_RETRY_MS_MIN * 2 ** Math.min(item.tries++, 16))
    item.dueMs = nowMs + pauseMs
    return pauseMs
  }

  #add(repair: Repair, nowMs: number): void {
    const name = repairName(repair)
    const before = this.#items.get(name)
    if (before === undefined) {
      const item = { repair, isRunning: false, tries: 0, dueMs: 0, foundMs: nowMs, isSaid: false, doneBytes: 0 }
      this.#items.set(name, { ...item, fault: undefined })
      return
    }
    // In place: whoever works on it sees it, too.
    if (before.repair.reason !== repair.reason) before.isSaid = false
    before.repair = repair
  }

  /** Keeps what is taken up first. */
  #cut(): void {
    if (this.#items.size <= REPAIR_QUEUE_MAX) return
    const ordered = [...this.#items.values()].toSorted(compareItems)
    for (const item of ordered.slice(REPAIR_QUEUE_MAX)) {
      if (item.isRunning) continue
      this.#items.delete(repairName(item.repair))
      this.#unlisted++
    }
  }
}

function isTired({ tries }: RepairItem): boolean {
  return tries >= REPAIR_TRIES_FRESH
}

function compareItems(one: RepairItem, other: RepairItem): number {
  return Number(isTired(one)) - Number(isTired(other)) || compareRepairs(one.repair, other.repair)
}

function extentName({ index, manifest }: ExtentRef): string {
  return `${manifest.toString()} ${index}`
}
