import { EXIT, type FaultInfo } from '../core/coded-error.ts'
import type { AuditFault } from './audit-rounds.ts'
import type { ErasureCertificateFault } from './erasure-certificate.ts'
import type { StorageColumnFault } from './storage-columns.ts'
import type { StorageCommitFault } from './storage-commit.ts'
import type { StorageErasureFault } from './storage-erasure.ts'
import type { StorageHoldFault } from './storage-holds.ts'
import type { StorageLayoutFault } from './storage-layout.ts'
import type { StorageLeaseFault } from './storage-leases.ts'
import type { StorageOfferFault } from './storage-offers.ts'
import type { StorageQuotaFault } from './storage-quota.ts'

/** Every code that the storage machine, and the check of its certificates, can answer with. */
type Code = (
  | AuditFault
  | ErasureCertificateFault
  | StorageColumnFault
  | StorageCommitFault
  | StorageErasureFault
  | StorageHoldFault
  | StorageLayoutFault
  | StorageLeaseFault
  | StorageOfferFault
  | StorageQuotaFault
)['code']

export const storageFaults = {
  AUDIT_EPOCH_WRONG: {
    says: 'The transaction is for audit epoch {epoch}; by block time it is epoch {current}.',
    todo: 'Nothing need be done: the next round comes with the next epoch.',
    http: 409,
    exit: EXIT.conflict,
  },
  AUDIT_OPEN_ALREADY: {
    says: 'The audit of epoch {epoch} is open already.',
    todo: 'Nothing need be done.',
    http: 409,
    exit: EXIT.conflict,
  },
  AUDIT_NOT_OPEN: {
    says: 'The audit of epoch {epoch} is not open.',
    todo: 'Open it first; a peer does that by itself.',
    http: 409,
    exit: EXIT.conflict,
  },
  AUDIT_PEER_UNKNOWN: {
    says: 'There is no storage peer number {number}.',
    todo: 'Judge the peers that the ledger lists.',
    http: 404,
    exit: EXIT.notFound,
  },
  AUDIT_NOT_COMMITTEE: {
    says: '{org} does not judge storage peer {number} in this round.',
    todo: 'Judge only the peers that the beacon drew this institution for.',
    http: 403,
    exit: EXIT.denied,
  },
  AUDIT_NOT_ACCUSED: {
    says: 'The peer {peer} is not accused of anything.',
    todo: 'Nothing need be shown.',
    http: 409,
    exit: EXIT.conflict,
  },
  AUDIT_LEAF_NOT_NAMED: {
    says: 'Leaf {index} of the appeal is none of those that the peer must show.',
    todo: 'Show the leaves that its standing names.',
    http: 400,
    exit: EXIT.usage,
  },
  AUDIT_LEAF_WRONG: {
    says: 'Leaf {index} of the appeal does not lead to the extent’s root.',
    todo: 'Read the shard again from the disk; where it is damaged, give the column up as lost.',
    http: 422,
    exit: EXIT.integrity,
  },
  STORAGE_PEER_FAILED: {
    says: 'The peer {peer} failed its audits, and has not proven since what it still holds for {columns} columns.',
    todo: 'Let it run: once it proves all in an audit, or holds nothing, it may offer again. Lost columns can be given up: "apotheca peer scrub" finds them.',
    http: 409,
    exit: EXIT.conflict,
  },
  STORAGE_NOT_INSTITUTION: {
    says: 'The account {account} is not that of {org}; room, tables and holds are matters of institutions.',
    todo: 'Name the institution’s own account, and sign with its key.',
    http: 403,
    exit: EXIT.denied,
  },
  STORAGE_PEER_NOT_MEMBER: {
    says: 'The peer {peer} is not one of {org}.',
    todo: 'Name a peer of the own institution, as the members are listed.',
    http: 403,
    exit: EXIT.denied,
  },
  STORAGE_PEER_UNKNOWN: {
    says: 'The peer {peer} has never offered room.',
    todo: 'Copy its id again, whole; "apotheca network layout" lists who offers.',
    http: 404,
    exit: EXIT.notFound,
  },
  STORAGE_PEER_NOT_DRAINING: {
    says: 'The peer {peer} is {state}; only one that is drained can be removed.',
    todo: 'Drain it first, and wait until others hold its columns.',
    http: 409,
    exit: EXIT.conflict,
  },
  STORAGE_PEER_HOLDS: {
    says: 'The peer {peer} still holds {columns} columns.',
    todo: 'Wait until others have confirmed them; nothing is lost meanwhile.',
    http: 409,
    exit: EXIT.conflict,
  },
  STORAGE_PEERS_FULL: {
    says: 'There are {peersMax} storage peers; more are not kept.',
    todo: 'Remove peers that are no longer used.',
    http: 409,
    exit: EXIT.capacity,
  },
  STORAGE_NO_LAYOUT: {
    says: 'There is no placement table yet.',
    todo: 'Wait until institutions have offered room and a table is in force.',
    http: 409,
    exit: EXIT.unavailable,
  },
  LAYOUT_BASE_STALE: {
    says: 'The table is made for version {base} of the storage peers; version {version} is in force.',
    todo: 'Make a table for the peers as they are now.',
    http: 409,
    exit: EXIT.conflict,
  },
  LAYOUT_IN_FORCE: {
    says: 'A table for version {base} of the storage peers is in force already.',
    todo: 'Nothing need be done.',
    http: 409,
    exit: EXIT.conflict,
  },
  LAYOUT_TOO_SOON: {
    says: 'The next table may come into force at {earliestMs}; it is {blockTimeMs}.',
    todo: 'Submit it again then.',
    http: 409,
    exit: EXIT.unavailable,
  },
  LAYOUT_PART_WRONG: {
    says: 'This is part {part} of a table; part {expected} is due.',
    todo: 'Submit the parts of one table in their order, from part 0.',
    http: 409,
    exit: EXIT.conflict,
  },
  OBJECT_UNKNOWN: {
    says: 'The ledger knows no stored object {manifest}.',
    todo: 'Copy the CID again, whole; if it is new, wait until it is placed.',
    http: 404,
    exit: EXIT.notFound,
  },
  OBJECT_EXISTS: {
    says: 'The object {manifest} is stored already.',
    todo: 'Nothing need be stored; renew its lease where it should be kept longer.',
    http: 409,
    exit: EXIT.conflict,
  },
  OBJECT_EXPIRED: {
    says: 'Nobody has kept the object {manifest} for too long; peers may have deleted it.',
    todo: 'Have the ledger forget it (storage.forget), then store it again.',
    http: 410,
    exit: EXIT.conflict,
  },
  OBJECT_ERASED: {
    says: 'The object {manifest} was erased on request.',
    todo: 'It can’t come back; store its content anew, sealed with another key, if that is allowed.',
    http: 410,
    exit: EXIT.conflict,
  },
  OBJECT_NOT_ERASED: {
    says: 'Nobody has asked to erase the object {manifest}.',
    todo: 'Sign the deletion of what was erased; let other columns go with storage.lost.',
    http: 409,
    exit: EXIT.conflict,
  },
  OBJECT_NOT_YOURS: {
    says: 'The account {account} has no say over the object {manifest}.',
    todo: 'Let who stored it, or that institution’s own account, do it.',
    http: 403,
    exit: EXIT.denied,
  },
  OBJECT_STORER_FOREIGN: {
    says: 'The account {account} is none of {org}’s, so {org} stores nothing for it.',
    todo: 'Name an account of the institution that stores, or none.',
    http: 403,
    exit: EXIT.denied,
  },
  OBJECT_DIFFERS: {
    says: 'The object {manifest} was begun with another {field}.',
    todo: 'Go on with what was begun; a changed object has another manifest.',
    http: 409,
    exit: EXIT.conflict,
  },
  OBJECT_BYTES_WRONG: {
    says: 'The object has {bytes} bytes; its extents hold {bytesMax} at most.',
    todo: 'Count the ciphertext of content and listing.',
    http: 400,
    exit: EXIT.usage,
  },
  OBJECT_UNFINISHED: {
    says: '{committed} of {extents} extents of the object {manifest} are stored.',
    todo: 'Store the others first.',
    http: 409,
    exit: EXIT.conflict,
  },
  OBJECT_KEPT: {
    says: 'The object {manifest} is kept, until {untilMs} at least.',
    todo: 'Wait; or release it, lift its holds. What a record names is kept for ever.',
    http: 409,
    exit: EXIT.conflict,
  },
  OBJECT_HELD: {
    says: '{holds} legal holds are on the object {manifest}.',
    todo: 'Ask the institutions that placed them.',
    http: 409,
    exit: EXIT.denied,
  },
  STORAGE_QUOTA_EXHAUSTED: {
    says: 'The storage quota of {org} has {left} MiB-hours left, and this takes {mibHours}; it fits at {fitsMs} (0: never).',
    todo: 'Let go what is not needed ("apotheca lease release"), or wait: the quota refills with time.',
    http: 429,
    exit: EXIT.capacity,
  },
  OBJECT_LEASE_TOO_LONG: {
    says: 'The lease would last until {leaseMs}; the latest allowed is {latestMs}.',
    todo: 'Ask for less; it can be renewed. What a record names is kept without a lease.',
    http: 400,
    exit: EXIT.usage,
  },
  OBJECT_LEASE_NOT_LONGER: {
    says: 'The lease would end at {leaseMs}; it lasts until {current} already.',
    todo: 'Nothing need be renewed; a lease is ended with storage.release.',
    http: 409,
    exit: EXIT.conflict,
  },
  EXTENT_UNKNOWN: {
    says: 'The ledger has no extent {index} of the object {manifest}.',
    todo: 'Read the object again; it may be forgotten.',
    http: 404,
    exit: EXIT.notFound,
  },
  EXTENT_TURN_WRONG: {
    says: 'Extents from {first} on were committed; of {extents}, {expected} is the next.',
    todo: 'Go on with extent {expected}.',
    http: 409,
    exit: EXIT.conflict,
  },
  EXTENT_CODE_WRONG: {
    says: 'Extent {index} has the code {data}+{parity}; {dataDue}+{parityDue} is due.',
    todo: 'Code it as the placement table in force says; copies are for critical data up to 64 KiB.',
    http: 409,
    exit: EXIT.conflict,
  },
  EXTENT_IMPLAUSIBLE: {
    says: 'The sizes of extent {index} can’t be: not {problem}.',
    todo: 'Take the sizes from the extent map.',
    http: 400,
    exit: EXIT.usage,
  },
  RECEIPT_COLUMN_TWICE: {
    says: 'Extent {index} has two receipts of column {column}.',
    todo: 'Send one of each column.',
    http: 400,
    exit: EXIT.usage,
  },
  RECEIPT_EXPIRED: {
    says: 'The receipt of column {column} of extent {index} counted until {expiresMs}; it is {blockTimeMs}.',
    todo: 'Ask the peer for a new one.',
    http: 409,
    exit: EXIT.conflict,
  },
  RECEIPTS_WRONG: {
    says: 'These columns of extent {index} have receipts that are not of the peers that should hold them now: {columns}.',
    todo: 'Read the placement table again; bring those columns to whom it names now.',
    http: 409,
    exit: EXIT.conflict,
  },
  RECEIPTS_TOO_FEW: {
    says: 'Extent {index} has {receipts} receipts; {needed} are needed.',
    todo: 'Bring it to more peers of its group.',
    http: 409,
    exit: EXIT.unavailable,
  },
  COLUMN_NOT_ASSIGNED: {
    says: 'Column {column} of extent {index} of {manifest} should not lie on a peer of this institution.',
    todo: 'Read the placement table again; it names who should hold the column.',
    http: 409,
    exit: EXIT.conflict,
  },
  COLUMN_NOT_HELD: {
    says: 'Column {column} of extent {index} of {manifest} is not held by that peer, as far as the ledger knows.',
    todo: 'Nothing need be done.',
    http: 409,
    exit: EXIT.conflict,
  },
  COLUMN_ERASED: {
    says: 'The object {manifest} was erased; column {column} of extent {index} is to be deleted.',
    todo: 'Delete it, and sign that (storage.erased).',
    http: 410,
    exit: EXIT.conflict,
  },
  COLUMN_RECEIPT_EXPIRED: {
    says: 'The receipt of column {column} of extent {index} of {manifest} is too old; it is {blockTimeMs}.',
    todo: 'Sign a new one.',
    http: 409,
    exit: EXIT.conflict,
  },
  COLUMN_SIGNATURE_WRONG: {
    says: 'The signature for column {column} of extent {index} of {manifest} is not that of its peer.',
    todo: 'Sign with the key of the peer that the ledger names, for this chain.',
    http: 400,
    exit: EXIT.integrity,
  },
  HOLD_NOT_ENTITLED: {
    says: '{org} may not place a hold on the object {manifest}.',
    todo: 'Courts, regulators, who stored it, and custodians of a record that names it may; a custodian names the record.',
    http: 403,
    exit: EXIT.denied,
  },
  ERASURE_CERTIFICATE_MALFORMED: {
    says: 'This is no erasure certificate of docs/spec/erasure-certificate.md.',
    todo: 'Ask for it again: "apotheca erase certificate CID --out FILE".',
    http: 422,
    exit: EXIT.integrity,
  },
  ERASURE_CERTIFICATE_FALSE: {
    says: 'The erasure certificate does not hold: {problem}.',
    todo: 'Do not rely on it; ask another peer for one.',
    http: 422,
    exit: EXIT.integrity,
  },
  HOLD_EXISTS: {
    says: '{org} has a hold on the object {manifest} already.',
    todo: 'Nothing need be done.',
    http: 409,
    exit: EXIT.conflict,
  },
  HOLD_UNKNOWN: {
    says: '{org} has no hold on the object {manifest}.',
    todo: 'Nothing need be done; a hold of another institution is lifted by that one.',
    http: 404,
    exit: EXIT.notFound,
  },
  ERASURE_NOT_ENTITLED: {
    says: 'The account {account} may not have the object {manifest} erased; {records} record versions name it.',
    todo: 'Ask who stored it; or, as the patient, name every record version that names it, all of them the own.',
    http: 403,
    exit: EXIT.denied,
  },
} as const satisfies Readonly<Record<Code, FaultInfo>>
