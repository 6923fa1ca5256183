/** The state machines of an Apotheca chain, in one list: all peers of a chain run the same. */
import type { StateMachine } from '../ledger/machine.ts'
import { accountsMachine } from './accounts.ts'
import { grantsMachine } from './grants.ts'
import { recordsMachine } from './records.ts'

export const machines: readonly StateMachine[] = [accountsMachine, recordsMachine, grantsMachine]
