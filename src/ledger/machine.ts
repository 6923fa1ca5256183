/**
 * State machines: the rules that the ledger runs. A machine owns namespaces of the state and applies types of transaction.
 * The same state and transaction give every peer the same answer, years later too: a machine reads nothing but the state
 * it is shown and the block's own height and time, and a refusal is returned, not thrown.
 */
import { CodecError } from '../core/codec.ts'
import { CodedError, type Fault } from '../core/coded-error.ts'
import type { AccountId, ChainId, InstitutionId, TxId } from '../core/ids.ts'
import { TX_BYTES_MAX } from '../core/limits.ts'
import type { Decoder } from '../core/schema.ts'
import type { Genesis } from './genesis.ts'
import type { StateChange, StateView } from './state.ts'
import type { Lane, SignedTx } from './transaction.ts'
import type { Validator } from './validators.ts'

/** The block that a transaction stands in. */
export interface BlockContext {
  readonly chain: ChainId
  readonly height: number
  /** SHA-256 of the header of the block before: a number that nobody could choose long before. */
  readonly parent: Uint8Array
  /** Time of the block; never the wall clock. */
  readonly timeMs: number
}

/** A transaction as its machine sees it. */
export interface Tx<P> {
  readonly id: TxId
  readonly hash: Uint8Array
  readonly org: InstitutionId
  readonly account: AccountId
  readonly payload: P
}

/** What a transaction does: all of its changes, or none and a fault. */
export type Step<F extends Fault = Fault> =
  | { readonly ok: true; readonly changes: readonly StateChange[] }
  | { readonly ok: false; readonly fault: F }

/** Whose signatures a transaction needs, in order; or why that can't be said. */
export type Signers =
  | { readonly ok: true; readonly keys: readonly Uint8Array[] }
  | { readonly ok: false; readonly fault: Fault }

/** Accounts as far as the ledger itself must know them; kept by the accounts machine. */
export interface AccountDirectory {
  /** @returns the key that signs for the account now, and its home institution. */
  account(
    view: StateView,
    account: AccountId,
  ): Promise<{ readonly org: InstitutionId; readonly signingKey: Uint8Array } | undefined>
  /** Whether the institution is a member. */
  hasInstitution(view: StateView, institution: InstitutionId): Promise<boolean>
}

/** A type of transaction, with its payload's type left behind. */
export interface TxType {
  readonly lane: Lane
  readonly bytesMax: number
  /** `undefined`: the account's own signature, as the ledger's directory has it. */
  readonly signers: ((view: StateView, tx: SignedTx) => Promise<Signers>) | undefined
  readonly apply: (view: StateView, tx: SignedTx, block: BlockContext) => Promise<Step>
}

/** What the last block of an epoch does, before its transactions. */
export interface EpochEnd {
  /** Who votes in the next epoch. */
  readonly validators: readonly Validator[]
  readonly changes: readonly StateChange[]
}

export interface StateMachine {
  readonly namespaces: readonly string[]
  /** By name, such as `record.add`. */
  readonly types: Readonly<Record<string, TxType>>
  /** The state that the genesis gives. */
  readonly genesis?: (genesis: Genesis) => readonly StateChange[]
  /**
   * Whether the block ends its epoch, and what that does. One machine of a chain decides that.
   *
   * @param view - the state after the block's parent.
   */
  readonly epochEnd?: (
    view: StateView,
    block: { readonly height: number; readonly epoch: number },
  ) => Promise<EpochEnd | undefined>
}

export type MachineFault =
  | { code: 'MACHINE_NAMESPACE_TAKEN'; namespace: string }
  | { code: 'MACHINE_TYPE_TAKEN'; type: string }
  | { code: 'MACHINE_EPOCHS_TAKEN'; machines: number }
  | { code: 'MACHINE_NAMESPACE_FOREIGN'; type: string; namespace: string }
export class MachineError extends CodedError<MachineFault> {}

export const accept = (changes: readonly StateChange[]): Step<never> => ({ ok: true, changes })
export const refuse = <const F extends Fault>(fault: F): Step<F> => ({ ok: false, fault })

/**
 * Defines a type of transaction.
 *
 * @param rule.payload - the shape of the payload; anything else is refused with `TX_PAYLOAD_MALFORMED` in the receipt.
 * @param rule.bytesMax - of the envelope. @default TX_BYTES_MAX
 * @param rule.signers - whose signatures are needed. @default the account's own
 */
export function txType<P>(rule: {
  readonly lane: Lane
  readonly payload: Decoder<P>
  readonly bytesMax?: number
  readonly signers?: (view: StateView, tx: Tx<P>) => Promise<Signers>
  readonly apply: (view: StateView, tx: Tx<P>, block: BlockContext) => Promise<Step>
}): TxType {
  const { signers } = rule
  return {
    lane: rule.lane,
    bytesMax: rule.bytesMax ?? TX_BYTES_MAX,
    signers:
      signers === undefined
        ? undefined
        : async (view, signed) => {
            const tx = typedTx(signed, rule.payload)
            return tx.ok ? signers(view, tx.tx) : tx
          },
    apply: async (view, signed, block) => {
      const tx = typedTx(signed, rule.payload)
      return tx.ok ? rule.apply(view, tx.tx, block) : tx
    },
  }
}

function typedTx<P>(
  signed: SignedTx,
  payload: Decoder<P>,
): { readonly ok: true; readonly tx: Tx<P> } | { readonly ok: false; readonly fault: Fault } {
  const { org, account } = signed.body
  try {
    const decoded = payload(signed.body.payload, 'payload')
    return { ok: true, tx: { id: signed.id, hash: signed.hash, org, account, payload: decoded } }
  } catch (error) {
    if (!(error instanceof CodecError) || error.fault.code !== 'CODEC_SHAPE') throw error
    const { path, expected } = error.fault
    const fault = { code: 'TX_PAYLOAD_MALFORMED', path, expected } as const
    return { ok: false, fault }
  }
}

/** The machines of a chain, by type and by namespace. */
export class Registry {
  readonly machines: readonly StateMachine[]
  readonly #epochMachine: StateMachine | undefined
  readonly #types = new Map<string, { readonly type: TxType; readonly machine: StateMachine }>()

  /** @throws {MachineError} `MACHINE_NAMESPACE_TAKEN`, `MACHINE_TYPE_TAKEN`, `MACHINE_EPOCHS_TAKEN` */
  constructor(machines: readonly StateMachine[], reserved: readonly string[] = []) {
    this.machines = machines
    const namespaces = new Set<string>(reserved)
    for (const machine of machines) {
      for (const namespace of machine.namespaces) {
        if (namespaces.has(namespace)) throw new MachineError({ code: 'MACHINE_NAMESPACE_TAKEN', namespace })
        namespaces.add(namespace)
      }
      for (const [type, definition] of Object.entries(machine.types)) {
        if (this.#types.has(type)) throw new MachineError({ code: 'MACHINE_TYPE_TAKEN', type })
        this.#types.set(type, { type: definition, machine })
      }
    }
    const deciding = machines.filter(({ epochEnd }) => epochEnd !== undefined)
    if (deciding.length > 1) throw new MachineError({ code: 'MACHINE_EPOCHS_TAKEN', machines: deciding.length })
    this.#epochMachine = deciding[0]
  }

  /** Whether a block ends its epoch; see `StateMachine.epochEnd`. @throws {MachineError} `MACHINE_NAMESPACE_FOREIGN` */
  async epochEnd(
    view: StateView,
    block: { readonly height: number; readonly epoch: number },
  ): Promise<EpochEnd | undefined> {
    const machine = this.#epochMachine
    const end = await machine?.epochEnd?.(view, block)
    if (end !== undefined) checkOwn(machine?.namespaces ?? [], 'epoch.end', end.changes)
    return end
  }

  type(name: string): TxType | undefined {
    return this.#types.get(name)?.type
  }

  /**
   * Refuses changes outside the namespaces of the machine that the type belongs to: a bug in one machine must not reach
   * the state of another.
   *
   * @throws {MachineError} `MACHINE_NAMESPACE_FOREIGN`
   */
  checkNamespaces(type: string, changes: readonly StateChange[]): void {
    checkOwn(this.#types.get(type)?.machine.namespaces ?? [], type, changes)
  }
}

function checkOwn(namespaces: readonly string[], type: string, changes: readonly StateChange[]): void {
  const foreign = changes.find(({ namespace }) => !namespaces.includes(namespace))
  if (foreign !== undefined) {
    throw new MachineError({ code: 'MACHINE_NAMESPACE_FOREIGN', type, namespace: foreign.namespace })
  }
}
