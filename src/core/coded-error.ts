/**
 * Faults: what every refusal in Apotheca is made of.
 *
 * A fault is plain data with a stable `code`. Each folder lists its codes in its own `faults.ts`, beside what they mean
 * to a reader; `docs/faults.md` is that list, and a test compares the two. Neither a fault's fields nor its sentence ever
 * holds patient data, a key, or a passphrase.
 */

/** Any coded fault: `code` selects the row of the fault table, the other fields fill its sentence. */
export interface Fault {
  readonly code: string
}

/** One row of a folder's fault table. */
export interface FaultInfo {
  /** What is wrong, in one sentence; `{field}` is filled from the fault. */
  readonly says: string
  /** What the reader can do about it. */
  readonly todo: string
  /** HTTP status where the gateway answers with this fault. */
  readonly http: number
  /** Exit status of the CLI; see `EXIT`. */
  readonly exit: number
}

export type FaultTable = Readonly<Record<string, FaultInfo>>

/** Exit statuses of the CLI, by what the caller's script would do next. */
export const EXIT = {
  /** A bug or an unforeseen failure. */
  internal: 1,
  /** Wrong words on the command line, a bad file or config: mend the input. */
  usage: 2,
  /** What was asked for isn't there. */
  notFound: 3,
  /** Not allowed: no grant, wrong key, not a member. */
  denied: 4,
  /** Bytes are not what they should be. */
  integrity: 5,
  /** A peer, disk or network isn't there now: try again. */
  unavailable: 6,
  /** No room, or over a limit. */
  capacity: 7,
  /** It conflicts with what is already there. */
  conflict: 8,
} as const

/** An error that carries a fault. `fault.code` is stable API; the message is the code, the sentence is made at the edge. */
export class CodedError<F extends Fault = Fault> extends Error {
  readonly fault: F
  constructor(fault: F, options?: ErrorOptions) {
    super(fault.code, options)
    this.name = new.target.name
    this.fault = fault
  }
}

/** The sentence of a fault, from the folder tables; fields are shown as they are. */
export function faultSentence(info: FaultInfo, fault: Fault): string {
  const fields = fault as unknown as Readonly<Record<string, unknown>>
  return info.says.replace(/\{(\w+)\}/g, (whole, name: string) => (name in fields ? String(fields[name]) : whole))
}

/** The fault of a coded error; undefined for any other thrown thing. */
export function faultOf(error: unknown): Fault | undefined {
  return error instanceof CodedError ? (error.fault as Fault) : undefined
}
