import { EXIT, type FaultInfo } from '../core/coded-error.ts'
import type { AccountFault } from './accounts.ts'
import type { EvidenceFault } from './evidence.ts'
import type { ConsentFault } from './grants.ts'
import type { MemberFault } from './member-changes.ts'
import type { MembershipFault } from './membership.ts'
import type { PlacementFault } from './placement-table.ts'
import type { RecordFault } from './records.ts'
import { storageFaults } from './storage-faults.ts'

/** Every code that this folder's rules can answer with; a code without a row, or a row without a code, doesn't compile. */
type Code =
  | (AccountFault | ConsentFault | EvidenceFault | MemberFault | MembershipFault | PlacementFault | RecordFault)['code']
  | keyof typeof storageFaults

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
  MEMBERSHIP_INSTITUTION_UNKNOWN: {
    says: '{institution} is not an institution of this chain.',
    todo: 'Correct the name of the institution.',
    http: 404,
    exit: EXIT.notFound,
  },
  MEMBERSHIP_NOT_INSTITUTION: {
    says: 'The account {account} is not that of {org}; membership is decided by institutions.',
    todo: 'Name the institution’s own account, and sign with its admin key.',
    http: 403,
    exit: EXIT.denied,
  },
  MEMBERSHIP_BASE_STALE: {
    says: 'The proposal changes the validators in force since epoch {base}; those since epoch {since} are in force now.',
    todo: 'Look at the validators as they are now, and propose again.',
    http: 409,
    exit: EXIT.conflict,
  },
  MEMBERSHIP_EXPIRED: {
    says: 'The proposal counted until {expiresMs}; it is {blockTimeMs}.',
    todo: 'Propose again, with more time for approvals.',
    http: 409,
    exit: EXIT.conflict,
  },
  MEMBERSHIP_PERIOD_TOO_LONG: {
    says: 'The proposal would count until {expiresMs}; the latest allowed is {latestMs}.',
    todo: 'Let it expire within 60 days; it can be proposed again.',
    http: 400,
    exit: EXIT.usage,
  },
  MEMBERSHIP_CHANGE_IMPOSSIBLE: {
    says: 'Change {index} can’t be made: {kind} {institution}.',
    todo: 'Add who does not validate yet, with a key that no validator has; remove or rotate who does. The last validator stays.',
    http: 409,
    exit: EXIT.conflict,
  },
  MEMBERSHIP_KEY_INVALID: {
    says: 'The consensus key of change {index} is not a usable Ed25519 public key.',
    todo: 'Copy consensusKey from identity.json of that institution’s peer, whole.',
    http: 400,
    exit: EXIT.usage,
  },
  MEMBERSHIP_KEY_SUSPENDED: {
    says: 'The consensus key of change {index}, for {institution}, is suspended: it signed what the rules forbid.',
    todo: 'Find out how it came to vote twice; then make another key with "apotheca peer rotate-key".',
    http: 409,
    exit: EXIT.conflict,
  },
  MEMBERSHIP_PROPOSAL_UNKNOWN: {
    says: 'No proposal {proposal} waits for approval.',
    todo: 'Copy the id again, whole; it may be approved already, or its institution has replaced it.',
    http: 404,
    exit: EXIT.notFound,
  },
  MEMBERSHIP_APPROVED_ALREADY: {
    says: '{institution} has approved this proposal already.',
    todo: 'Nothing need be done; the others must approve it.',
    http: 409,
    exit: EXIT.conflict,
  },
  MEMBERSHIP_QUEUE_FULL: {
    says: '{waiting} approved changes wait for the end of an epoch; at most {waitingMax} are kept.',
    todo: 'Approve again after the next epochs.',
    http: 409,
    exit: EXIT.capacity,
  },
  MEMBER_INSTITUTION_EXISTS: {
    says: 'The institution {institution} is, or once was, a member.',
    todo: 'Choose another id: an id is never given twice.',
    http: 409,
    exit: EXIT.conflict,
  },
  MEMBER_INSTITUTION_UNKNOWN: {
    says: 'The institution {institution} is no member.',
    todo: 'Copy its id again, from "apotheca network members".',
    http: 404,
    exit: EXIT.notFound,
  },
  MEMBER_INSTITUTIONS_FULL: {
    says: 'There are {institutionsMax} institutions already, and no more can be.',
    todo: 'Remove one that has left.',
    http: 409,
    exit: EXIT.capacity,
  },
  MEMBER_KEY_INVALID: {
    says: 'The {key} key of the institution or peer is no usable key.',
    todo: 'Take the keys from the identity.json of its peer.',
    http: 400,
    exit: EXIT.usage,
  },
  MEMBER_KEY_USED: {
    says: 'The {key} key is used already: every institution has its own keys, each for one purpose.',
    todo: 'Make new keys with "apotheca peer init".',
    http: 409,
    exit: EXIT.conflict,
  },
  MEMBER_PEER_EXISTS: {
    says: 'The peer {peer} belongs to {institution} already.',
    todo: 'Remove it there first, or make another with "apotheca peer init".',
    http: 409,
    exit: EXIT.conflict,
  },
  MEMBER_PEER_UNKNOWN: {
    says: 'The peer {peer} does not belong to {institution}.',
    todo: 'Copy its id again, from "apotheca network members".',
    http: 404,
    exit: EXIT.notFound,
  },
  MEMBER_PEERS_FULL: {
    says: 'Already {peersMax} peers of {institution} came after its founding, and no more can.',
    todo: 'Remove one that is not used.',
    http: 409,
    exit: EXIT.capacity,
  },
  MEMBER_LAST_VALIDATOR: {
    says: 'Nobody but {institution} validates: without it no block would ever follow.',
    todo: 'Let another institution validate first, with "apotheca validators propose".',
    http: 409,
    exit: EXIT.conflict,
  },
  EVIDENCE_EPOCH_UNKNOWN: {
    says: 'The votes are of epoch {epoch}, whose validators are not kept, or not known yet.',
    todo: 'Submit evidence within 1,024 epochs.',
    http: 404,
    exit: EXIT.notFound,
  },
  EVIDENCE_KNOWN: {
    says: 'The key of {institution} is suspended already, for its votes in epoch {epoch}, view {view}.',
    todo: 'Nothing need be done.',
    http: 409,
    exit: EXIT.conflict,
  },
  PLACEMENT_PEER_TWICE: {
    says: 'The peer {peer} stands twice among the storage peers.',
    todo: 'Name every peer once.',
    http: 400,
    exit: EXIT.usage,
  },
  PLACEMENT_PEERS_COUNT: {
    says: 'The layout names {peers} storage peers; 1 to {peersMax} are possible.',
    todo: 'Name at least one, and at most as many as there can be.',
    http: 400,
    exit: EXIT.usage,
  },
  PLACEMENT_NO_CAPACITY: {
    says: 'No storage peer has any capacity.',
    todo: 'Keep at least one peer that holds shards.',
    http: 409,
    exit: EXIT.capacity,
  },
  PLACEMENT_INSTITUTION_ZONES: {
    says: 'The storage peers of {institution} are in different zones.',
    todo: 'Give all of them the zone that the institution as a whole is in.',
    http: 400,
    exit: EXIT.usage,
  },
  PLACEMENT_CODE_WRONG: {
    says: 'The table is for the code {data}+{parity}; with so many institutions it must be {dataDue}+{parityDue}.',
    todo: 'Make the table again, with "apotheca network layout".',
    http: 409,
    exit: EXIT.conflict,
  },
  PLACEMENT_GROUPS_WRONG: {
    says: 'The table has {groups} groups; it must have {groupsDue}.',
    todo: 'Make the table again, with "apotheca network layout".',
    http: 409,
    exit: EXIT.conflict,
  },
  PLACEMENT_ROWS_LENGTH: {
    says: 'The table has {columns} columns in all its rows; it must have {columnsDue}.',
    todo: 'Make the table again, with "apotheca network layout".',
    http: 400,
    exit: EXIT.usage,
  },
  PLACEMENT_PEER_UNKNOWN: {
    says: 'Column {column} of group {group} names a peer that is not in the list.',
    todo: 'Make the table again, with "apotheca network layout".',
    http: 400,
    exit: EXIT.usage,
  },
  PLACEMENT_INSTITUTION_TWICE: {
    says: 'Column {column} of group {group} is a second one of {institution}: with it two shards would be lost.',
    todo: 'Make the table again, with "apotheca network layout".',
    http: 409,
    exit: EXIT.conflict,
  },
  PLACEMENT_ZONE_CROWDED: {
    says: 'More than {columnsMax} columns of group {group} are in the zone {zone}.',
    todo: 'Make the table again, with "apotheca network layout".',
    http: 409,
    exit: EXIT.conflict,
  },
  PLACEMENT_LOAD_HIGH: {
    says: 'The table gives {load} columns to the peer {peer}; its part of the capacity allows {loadMax}.',
    todo: 'Make the table again, with "apotheca network layout".',
    http: 409,
    exit: EXIT.capacity,
  },
  PLACEMENT_MOVES_MANY: {
    says: 'The table would move {moved} columns; for what changed, {movedMax} are allowed.',
    todo: 'Make the table again, starting from the one in force.',
    http: 409,
    exit: EXIT.conflict,
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
  ...storageFaults,
} as const satisfies Readonly<Record<Code, FaultInfo>>
