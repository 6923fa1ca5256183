/**
 * Transactions that wait for a block. Pure: whoever owns it checks admission first, says what time it is, and tells it what
 * became final.
 *
 * Order: lanes first to last; within a lane, institutions take turns by bytes (deficit round-robin), so that one that floods
 * doesn't starve the others; within an institution, accounts take turns; within an account, `seq` order without gaps.
 * Lanes 2 and 3 together get at most four fifths of a block, so that urgent ones that come late still find room.
 *
 * Room: each institution has its part, and of that a slice is for lane 0 alone. What stands behind a gap in its account's turns may never
 * enter a block, however long it waits; where there is no room, it leaves for what is in its turn. So no account can lock out
 * the others of its institution by leaving out one turn.
 *
 * @see docs/spec/transaction.md, "Waiting"
 */
import { CodedError } from '../core/coded-error.ts'
import type { AccountId, InstitutionId, TxId } from '../core/ids.ts'
import {
  MEMPOOL_BYTES_MAX,
  MEMPOOL_EVICTED_DIVISOR,
  MEMPOOL_INSTITUTION_DIVISOR,
  MEMPOOL_SEQ_AHEAD_MAX,
  MEMPOOL_TXS_MAX,
  MEMPOOL_URGENT_DIVISOR,
  TX_LARGE_BYTES_MAX,
} from '../core/limits.ts'
import { byteText } from '../crypto/hash.ts'
import { LANES, type Lane, type SignedTx } from './transaction.ts'

export type MempoolFault =
  | { code: 'MEMPOOL_DUPLICATE'; tx: string }
  | { code: 'MEMPOOL_FULL'; bytes: number; bytesMax: number; count: number; countMax: number }
  | { code: 'MEMPOOL_INSTITUTION_FULL'; org: string; bytes: number; bytesMax: number }
  | { code: 'MEMPOOL_SEQ_TAKEN'; seq: number; tx: string }
  | { code: 'MEMPOOL_SEQ_TOO_FAR'; seq: number; next: number; aheadMax: number }
  | { code: 'TX_SEQ_USED'; seq: number; next: number }
  | { code: 'TX_EXPIRED'; expiresMs: number; blockTimeMs: number }
export class MempoolError extends CodedError<MempoolFault> {}

export interface MempoolOptions {
  /** @default MEMPOOL_BYTES_MAX */
  readonly bytesMax?: number
  /** @default MEMPOOL_TXS_MAX */
  readonly countMax?: number
}

/** A transaction that left without a block, and why. */
export interface Evicted {
  readonly tx: SignedTx
  readonly fault: MempoolFault
}

/** What waits of one account in one lane. */
interface Account {
  readonly id: AccountId
  next: number
  /** The first `seq` from `next` on that nothing waits with: what is larger stands behind a gap. */
  gap: number
  readonly bySeq: Map<number, SignedTx>
}

/** What waits of one institution. */
interface Part {
  bytes: number
  /** In lane 0. */
  urgentBytes: number
}

/** What waits of one institution in one lane. */
interface Queue {
  readonly org: InstitutionId
  /** In the order of their turns. */
  readonly accounts: Map<AccountId, Account>
}

/** By how much a transaction is too large for the room there is; not above 0 where it isn't. */
interface Lack {
  readonly fault: MempoolFault
  readonly bytes: number
  readonly count: number
  /** Of its institution's part. */
  readonly part: number
  /** Of that without the slice of lane 0. */
  readonly later: number
}

/** Room that is left in a block. */
interface Room {
  bytes: number
  count: number
}

/** A turn of an institution: at least one transaction of any size fits in. */
const QUANTUM_BYTES = TX_LARGE_BYTES_MAX
/** Part of a block that lanes 2 and 3 may fill together. */
const LATER_LANES_RATIO = { numerator: 4, denominator: 5 } as const

export class Mempool {
  readonly #bytesMax: number
  readonly #countMax: number
  readonly #lanes: readonly Map<InstitutionId, Queue>[] = LANES.map(() => new Map<InstitutionId, Queue>())
  readonly #byId = new Map<TxId, SignedTx>()
  /** By `byteText` of the leaf. */
  readonly #byLeaf = new Map<string, SignedTx>()
  /** Nothing that waits expires earlier. */
  #soonestMs = Number.POSITIVE_INFINITY
  readonly #parts = new Map<InstitutionId, Part>()
  #bytes = 0

  constructor(options: MempoolOptions = {}) {
    this.#bytesMax = options.bytesMax ?? MEMPOOL_BYTES_MAX
    this.#countMax = options.countMax ?? MEMPOOL_TXS_MAX
  }

  get count(): number {
    return this.#byId.size
  }

  get bytes(): number {
    return this.#bytes
  }

  /** How much waits in each lane. */
  byLane(): readonly { readonly lane: Lane; readonly count: number; readonly bytes: number }[] {
    const sums = LANES.map((lane) => ({ lane, count: 0, bytes: 0 }))
    for (const { body, bytes } of this.#byId.values()) {
      const sum = sums[body.lane]
      if (sum === undefined) continue
      sum.count++
      sum.bytes += bytes.length
    }
    return sums
  }

  has(id: TxId): boolean {
    return this.#byId.has(id)
  }

  get(id: TxId): SignedTx | undefined {
    return this.#byId.get(id)
  }

  /** The one whose envelope has this hash. */
  byLeaf(leaf: Uint8Array): SignedTx | undefined {
    return this.#byLeaf.get(byteText(leaf))
  }

  /**
   * Takes a transaction that was found admissible.
   *
   * @param next - the `seq` that the chain expects of its account in its lane.
   * @param timeMs - the later of the newest block's time and now.
   * @returns what had to leave for it.
   * @throws {MempoolError} any of its codes
   */
  add(tx: SignedTx, next: number, timeMs: number): Evicted[] {
    const { account: id, expiresMs, lane, org, seq } = tx.body
    if (this.#byId.has(tx.id)) throw new MempoolError({ code: 'MEMPOOL_DUPLICATE', tx: tx.id })
    if (expiresMs <= timeMs) throw new MempoolError({ code: 'TX_EXPIRED', expiresMs, blockTimeMs: timeMs })
    if (seq < next) throw new MempoolError({ code: 'TX_SEQ_USED', seq, next })
    if (seq >= next + MEMPOOL_SEQ_AHEAD_MAX) {
      throw new MempoolError({ code: 'MEMPOOL_SEQ_TOO_FAR', seq, next, aheadMax: MEMPOOL_SEQ_AHEAD_MAX })
    }
    const before = this.#account(lane, org, id)
    const taken = before?.bySeq.get(seq)
    if (taken !== undefined) throw new MempoolError({ code: 'MEMPOOL_SEQ_TAKEN', seq, tx: taken.id })
    if (before !== undefined) moveOn(before, next)
    const evicted = this.#makeRoom(tx, seq <= (before?.gap ?? next))
    const account = this.#openAccount(lane, org, id)
    account.bySeq.set(seq, tx)
    moveOn(account, next)
    this.#byId.set(tx.id, tx)
    this.#byLeaf.set(byteText(tx.leaf), tx)
    this.#soonestMs = Math.min(this.#soonestMs, expiresMs)
    this.#count(tx, 1)
    return evicted
  }

  /**
   * What the next block should hold, in order. Nothing is taken out: that happens when a block is final.
   *
   * @param limits.bytes - of the envelopes together.
   * @param limits.skip - transactions that stand in a block this one is built on, which isn't final yet: they count as taken, so
   *   that what follows them in `seq` has its turn.
   */
  take(limits: { readonly bytes: number; readonly count: number; readonly skip?: (id: TxId) => boolean }): SignedTx[] {
    const skip = limits.skip ?? (() => false)
    const chosen: SignedTx[] = []
    const room: Room = { bytes: limits.bytes, count: limits.count }
    const { numerator, denominator } = LATER_LANES_RATIO
    const later: Room = {
      bytes: Math.floor((limits.bytes * numerator) / denominator),
      // Of one, one: whoever asks whether anything waits asks for one.
      count: Math.max(Math.min(1, limits.count), Math.floor((limits.count * numerator) / denominator)),
    }
    for (const lane of LANES) {
      const isLater = lane >= 2
      const lent: Room = isLater
        ? { bytes: Math.min(room.bytes, later.bytes), count: Math.min(room.count, later.count) }
        : { ...room }
      const taken = takeLane([...(this.#lanes[lane]?.values() ?? [])], lent, skip)
      const bytes = taken.reduce((sum, tx) => sum + tx.bytes.length, 0)
      for (const side of isLater ? [room, later] : [room]) {
        side.bytes -= bytes
        side.count -= taken.length
      }
      chosen.push(...taken)
    }
    return chosen
  }

  /**
   * Takes out what a final block holds, and what can't come any more: those expired, those whose turn another one used.
   *
   * @param txs - of the block.
   * @param timeMs - of the block.
   * @returns what left without being in the block.
   */
  committed(txs: readonly SignedTx[], timeMs: number): Evicted[] {
    const evicted: Evicted[] = []
    for (const { body, id } of txs) {
      const held = this.#byId.get(id)
      if (held !== undefined) this.#remove(held)
      const account = this.#account(body.lane, body.org, body.account)
      if (account === undefined) continue
      moveOn(account, body.seq + 1)
      const { next } = account
      for (const [seq, tx] of [...account.bySeq]) {
        if (seq < next) evicted.push(this.#evict(tx, { code: 'TX_SEQ_USED', seq, next }))
      }
    }
    return [...evicted, ...this.expire(timeMs)]
  }

  /** Takes out what expired by `timeMs`. */
  expire(timeMs: number): Evicted[] {
    if (timeMs < this.#soonestMs) return []
    const expired: SignedTx[] = []
    this.#soonestMs = Number.POSITIVE_INFINITY
    for (const tx of this.#byId.values()) {
      const { expiresMs } = tx.body
      if (expiresMs <= timeMs) expired.push(tx)
      else this.#soonestMs = Math.min(this.#soonestMs, expiresMs)
    }
    return expired.map((tx) =>
      this.#evict(tx, { code: 'TX_EXPIRED', expiresMs: tx.body.expiresMs, blockTimeMs: timeMs }),
    )
  }

  /** Takes out one transaction, such as one that a proposer found inadmissible. */
  remove(id: TxId): void {
    const tx = this.#byId.get(id)
    if (tx !== undefined) this.#remove(tx)
  }

  /**
   * @param isInTurn - whether no gap is before it: what stands behind one leaves for it then.
   * @returns what left.
   */
  #makeRoom(tx: SignedTx, isInTurn: boolean): Evicted[] {
    const lack = this.#lackOfRoom(tx)
    if (lack === undefined) return []
    const leaving = isInTurn ? this.#leavingFor(tx, lack) : undefined
    if (leaving === undefined) throw new MempoolError(lack.fault)
    for (const one of leaving) this.#remove(one, false)
    return leaving.map((one) => ({ tx: one, fault: lack.fault }))
  }

  #lackOfRoom(tx: SignedTx): Lack | undefined {
    const { lane, org } = tx.body
    const size = tx.bytes.length
    const { bytes: held, urgentBytes } = this.#parts.get(org) ?? { bytes: 0, urgentBytes: 0 }
    const partMax = this.#partMax
    const laterMax = partMax - Math.floor(partMax / MEMPOOL_URGENT_DIVISOR)
    const bytes = this.#bytes + size - this.#bytesMax
    const count = this.#byId.size + 1 - this.#countMax
    const part = held + size - partMax
    const later = lane === 0 ? 0 : held - urgentBytes + size - laterMax
    if (Math.max(bytes, count, part, later) <= 0) return undefined
    const [bytesMax, countMax] = [this.#bytesMax, this.#countMax]
    const fault: MempoolFault =
      bytes > 0 || count > 0
        ? { code: 'MEMPOOL_FULL', bytes: this.#bytes, bytesMax, count: this.#byId.size, countMax }
        : part > 0
          ? { code: 'MEMPOOL_INSTITUTION_FULL', org, bytes: held, bytesMax: partMax }
          : { code: 'MEMPOOL_INSTITUTION_FULL', org, bytes: held - urgentBytes, bytesMax: laterMax }
    return { fault, bytes, count, part, later }
  }

  /**
   * Those behind a gap whose place is enough for this one.
   *
   * @returns `undefined` where all of them together are not enough: none leaves in vain.
   */
  #leavingFor(tx: SignedTx, lack: Lack): SignedTx[] | undefined {
    const { org } = tx.body
    const isCommon = lack.bytes > 0 || lack.count > 0
    let { bytes, count, later, part } = lack
    // More than is needed, where there is more: those that come next need not look again.
    let spare = Math.floor(this.#partMax / MEMPOOL_EVICTED_DIVISOR)
    const leaving: SignedTx[] = []
    for (const one of this.#behindGaps(isCommon ? undefined : org)) {
      const size = one.bytes.length
      const isOwn = one.body.org === org
      const isOwnLater = isOwn && one.body.lane !== 0
      const isNeeded = bytes > 0 || count > 0 || (isOwn && part > 0) || (isOwnLater && later > 0)
      const isSpare = one.body.lane !== 0 && spare > 0 && Math.max(bytes, count, part, later) <= 0
      if (!isNeeded && !isSpare) continue
      leaving.push(one)
      spare -= size
      bytes -= size
      count -= 1
      if (isOwn) part -= size
      if (isOwnLater) later -= size
    }
    return Math.max(bytes, count, part, later) <= 0 ? leaving : undefined
  }

  /** What stands behind a gap: urgent ones last, and first what is furthest from its turn. @param org - only of this one. */
  #behindGaps(org: InstitutionId | undefined): SignedTx[] {
    const behind: { readonly tx: SignedTx; readonly ahead: number; readonly isUrgent: boolean }[] = []
    for (const [lane, queues] of this.#lanes.entries()) {
      const own = org === undefined ? undefined : queues.get(org)
      for (const { accounts } of org === undefined ? queues.values() : own === undefined ? [] : [own]) {
        for (const { bySeq, gap, next } of accounts.values()) {
          if (bySeq.size <= gap - next) continue
          for (const [seq, tx] of bySeq) if (seq > gap) behind.push({ tx, ahead: seq - next, isUrgent: lane === 0 })
        }
      }
    }
    return behind.sort((a, b) => Number(a.isUrgent) - Number(b.isUrgent) || b.ahead - a.ahead).map(({ tx }) => tx)
  }

  get #partMax(): number {
    return Math.floor(this.#bytesMax / MEMPOOL_INSTITUTION_DIVISOR)
  }

  #account(lane: Lane, org: InstitutionId, id: AccountId): Account | undefined {
    return this.#lanes[lane]?.get(org)?.accounts.get(id)
  }

  #openAccount(lane: Lane, org: InstitutionId, id: AccountId): Account {
    const queues = this.#lanes[lane] ?? new Map<InstitutionId, Queue>()
    const queue = queues.get(org) ?? { org, accounts: new Map<AccountId, Account>() }
    queues.set(org, queue)
    const account = queue.accounts.get(id) ?? { id, next: 1, gap: 1, bySeq: new Map<number, SignedTx>() }
    queue.accounts.set(id, account)
    return account
  }

  #evict(tx: SignedTx, fault: MempoolFault): Evicted {
    this.#remove(tx)
    return { tx, fault }
  }

  /** @param hadTurn - it goes into a block, or was tried for one. */
  #remove(tx: SignedTx, hadTurn = true): void {
    const { account: id, lane, org, seq } = tx.body
    const queues = this.#lanes[lane]
    const queue = queues?.get(org)
    const account = queue?.accounts.get(id)
    account?.bySeq.delete(seq)
    if (account !== undefined && seq >= account.next) account.gap = Math.min(account.gap, seq)
    // Who had a turn goes to the end: the next block begins with those who had none.
    const isEmpty = account === undefined || account.bySeq.size === 0
    if (hadTurn || isEmpty) queue?.accounts.delete(id)
    if (hadTurn && !isEmpty) queue?.accounts.set(id, account)
    const isLast = queue === undefined || queue.accounts.size === 0
    if (hadTurn || isLast) queues?.delete(org)
    if (hadTurn && !isLast) queues?.set(org, queue)
    this.#byId.delete(tx.id)
    this.#byLeaf.delete(byteText(tx.leaf))
    this.#count(tx, -1)
  }

  #count(tx: SignedTx, sign: 1 | -1): void {
    const { lane, org } = tx.body
    const size = sign * tx.bytes.length
    const part = this.#parts.get(org) ?? { bytes: 0, urgentBytes: 0 }
    part.bytes += size
    if (lane === 0) part.urgentBytes += size
    if (part.bytes === 0) this.#parts.delete(org)
    else this.#parts.set(org, part)
    this.#bytes += size
  }
}

/** The chain expects this `seq`, or a later one. */
function moveOn(account: Account, next: number): void {
  account.next = Math.max(account.next, next)
  account.gap = Math.max(account.gap, account.next)
  while (account.bySeq.has(account.gap)) account.gap++
}

/** Deficit round-robin: each turn gives an institution a quantum; it sends while what it has saved covers the next one. */
function takeLane(queues: readonly Queue[], room: Room, skip: (id: TxId) => boolean): SignedTx[] {
  const chosen: SignedTx[] = []
  let turns = queues.map((queue) => ({ next: inTurn(queue, skip), deficit: 0 }))
  while (turns.length > 0 && room.count > 0) {
    const still: typeof turns = []
    for (const turn of turns) {
      turn.deficit += QUANTUM_BYTES
      let tx = turn.next.peek()
      while (tx !== undefined && tx.bytes.length <= turn.deficit) {
        if (room.count === 0 || tx.bytes.length > room.bytes) return chosen
        chosen.push(tx)
        room.bytes -= tx.bytes.length
        room.count -= 1
        turn.deficit -= tx.bytes.length
        turn.next.advance()
        tx = turn.next.peek()
      }
      if (tx !== undefined) still.push(turn)
    }
    turns = still
  }
  return chosen
}

/** The transactions of one institution, its accounts in turns, each account's in the order of `seq` up to the first gap. */
function inTurn(queue: Queue, skip: (id: TxId) => boolean): { peek(): SignedTx | undefined; advance(): void } {
  const accounts = [...queue.accounts.values()].map((account) => ({ account, seq: account.next }))
  let first = 0
  return {
    peek: () => {
      for (; first < accounts.length; first++) {
        const one = accounts[first]
        if (one === undefined) return undefined
        let tx = one.account.bySeq.get(one.seq)
        while (tx !== undefined && skip(tx.id)) tx = one.account.bySeq.get(++one.seq)
        if (tx !== undefined) return tx
      }
      return undefined
    },
    advance: () => {
      const one = accounts[first]
      first++
      if (one !== undefined) accounts.push({ account: one.account, seq: one.seq + 1 })
    },
  }
}
