import { EXIT, type FaultInfo } from '../core/coded-error.ts'
import type { AccountFault } from './accounts.ts'
import type { ConsentFault } from './grants.ts'
import type { RecordFault } from './records.ts'

/** Every code that this folder's rules can answer with; a code without a row, or a row without a code, doesn't compile. */
type Code = (AccountFault | ConsentFault | RecordFault)['code']

export const domainFaults = {
  ACCOUNT_EXISTS: {
    says: 'The account {account} exists already.',
    todo: 'Use it; nothing need be created.',
    http: 409,
    exit: EXIT.conflict,
  },
  ACCOUNT_ID_WRONG: {
    says: 'The account id {account} is not that of these keys, which is {expected}.',
    todo: 'Make the id from the first public keys.',
    http: 400,
    exit: EXIT.usage,
  },
  ACCOUNT_KEY_INVALID: {
    says: 'The signing key of the account {account} is not a usable Ed25519 public key.',
    todo: 'Make the key with apotheca key create, and copy it whole.',
    http: 400,
    exit: EXIT.usage,
  },
  ACCOUNT_INSTITUTION_UNKNOWN: {
    says: '{org} has no account that could attest this one.',
    todo: 'Name an institution of this chain.',
    http: 404,
    exit: EXIT.notFound,
  },
  RECORD_PATIENT_UNKNOWN: {
    says: 'There is no account {patient} on this chain.',
    todo: 'Create the patient’s account first.',
    http: 404,
    exit: EXIT.notFound,
  },
  RECORD_PATIENT_NOT_PERSON: {
    says: 'The account {patient} belongs to an institution; a record needs a person.',
    todo: 'Name the patient’s account.',
    http: 400,
    exit: EXIT.usage,
  },
  RECORD_KEY_WRAP_WRONG: {
    says: 'The record’s key is wrapped with {wrap}; the patient’s key is {expected}.',
    todo: 'Read the patient’s current key from the ledger, and wrap again.',
    http: 409,
    exit: EXIT.conflict,
  },
  RECORD_UNKNOWN: {
    says: 'There is no record {record}.',
    todo: 'Copy the id again, whole; if the record is new, wait for its receipt.',
    http: 404,
    exit: EXIT.notFound,
  },
  RECORD_NOT_AUTHOR: {
    says: 'The account {account} may not amend the record {record}.',
    todo: 'Let its author, its patient, or an account of the institution that keeps it amend it.',
    http: 403,
    exit: EXIT.denied,
  },
  RECORD_VERSIONS_FULL: {
    says: 'The record {record} has {versionsMax} versions; more are not kept.',
    todo: 'Add a new record.',
    http: 409,
    exit: EXIT.capacity,
  },
  CONSENT_RECORD_UNKNOWN: {
    says: 'There is no record {record}.',
    todo: 'Copy the id again, whole; if the record is new, wait for its receipt.',
    http: 404,
    exit: EXIT.notFound,
  },
  CONSENT_NOT_PATIENT: {
    says: 'The account {account} is not the patient of the record {record}; only the patient can grant it.',
    todo: 'Ask the patient.',
    http: 403,
    exit: EXIT.denied,
  },
  CONSENT_VERSION_UNKNOWN: {
    says: 'The record {record} has versions 1 to {versions}, not {version}.',
    todo: 'Name a version that is there.',
    http: 404,
    exit: EXIT.notFound,
  },
  CONSENT_GRANTEE_UNKNOWN: {
    says: 'There is no account {grantee} on this chain.',
    todo: 'Copy the id again, whole; or create the account first.',
    http: 404,
    exit: EXIT.notFound,
  },
  CONSENT_KEY_WRAP_WRONG: {
    says: 'The key is wrapped with {wrap}; the grantee’s key is {expected}.',
    todo: 'Read the grantee’s current key from the ledger, and wrap again.',
    http: 409,
    exit: EXIT.conflict,
  },
  CONSENT_PERIOD_EMPTY: {
    says: 'The consent would end at {endMs}, not later than it starts, {startMs}.',
    todo: 'Let it end after it starts.',
    http: 400,
    exit: EXIT.usage,
  },
  CONSENT_EXPIRY_PAST: {
    says: 'The consent would end at {endMs}; it is {blockTimeMs} already.',
    todo: 'Let it end in the future.',
    http: 400,
    exit: EXIT.usage,
  },
  CONSENT_PERIOD_TOO_LONG: {
    says: 'The consent would end at {endMs}; the latest allowed is {latestMs}.',
    todo: 'Grant at most ten years; it can be granted again.',
    http: 400,
    exit: EXIT.usage,
  },
  CONSENT_GRANT_EXISTS: {
    says: 'The grantee has a grant of this version for this purpose, given in {tx}, until {endMs}.',
    todo: 'Nothing need be granted; or wait until it has ended.',
    http: 409,
    exit: EXIT.conflict,
  },
} as const satisfies Readonly<Record<Code, FaultInfo>>
