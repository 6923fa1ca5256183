/** Every coded fault of the daemon, by code: what the gateway and the CLI turn into sentences and statuses. */
import { consensusFaults } from '../consensus/faults.ts'
import { CodedError, EXIT, type Fault, type FaultInfo, faultSentence } from '../core/coded-error.ts'
import { coreFaults } from '../core/faults.ts'
import { cryptoFaults } from '../crypto/faults.ts'
import { domainFaults } from '../domain/faults.ts'
import { ledgerFaults } from '../ledger/faults.ts'
import { p2pFaults } from '../p2p/faults.ts'
import { shardsFaults } from '../shards/faults.ts'
import { storeFaults } from '../store/faults.ts'
import { configFaults } from '../peer/config-faults.ts'
import { peerFaults } from '../peer/faults.ts'
import { gatewayFaults } from './faults.ts'

export const faultCatalog: Readonly<Record<string, FaultInfo>> = {
  ...coreFaults,
  ...cryptoFaults,
  ...ledgerFaults,
  ...domainFaults,
  ...consensusFaults,
  ...shardsFaults,
  ...storeFaults,
  ...p2pFaults,
  ...configFaults,
  ...peerFaults,
  ...gatewayFaults,
}

/** The row of whatever has none: a bug. */
const UNFORESEEN: FaultInfo = {
  says: 'Something failed that should not have.',
  todo: 'Look at the log of the peer; report it with the version and the time.',
  http: 500,
  exit: EXIT.internal,
}

/** A fault made ready for a reader: its sentence, what to do, and the statuses. */
export interface FaultReport {
  readonly code: string
  readonly sentence: string
  readonly todo: string
  readonly http: number
  readonly exit: number
  /** The fault's own fields, without its code. */
  readonly fields: Readonly<Record<string, unknown>>
}

export function reportFault(fault: Fault, catalog: Readonly<Record<string, FaultInfo>> = faultCatalog): FaultReport {
  const info = catalog[fault.code] ?? UNFORESEEN
  const { code, ...fields } = fault
  return { code, sentence: faultSentence(info, fault), todo: info.todo, http: info.http, exit: info.exit, fields }
}

/** Any thrown thing as a report; what is not a coded fault is `INTERNAL`, with nothing of its message. */
export function reportError(error: unknown, catalog?: Readonly<Record<string, FaultInfo>>): FaultReport {
  return reportFault(error instanceof CodedError ? (error.fault as Fault) : { code: 'INTERNAL' }, catalog)
}
