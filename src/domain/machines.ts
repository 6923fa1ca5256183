/** The state machines of an Apotheca chain, in one list: all peers of a chain run the same. */
import type { StateMachine } from '../ledger/machine.ts'
import { evidenceMachine } from './evidence.ts'
import { grantsMachine } from './grants.ts'
import { membershipMachine } from './membership.ts'
import { recordsMachine } from './records.ts'
import { storageMachine } from './storage.ts'

export const machines: readonly StateMachine[] = [
  membershipMachine,
  evidenceMachine,
  recordsMachine,
  grantsMachine,
  storageMachine,
]
