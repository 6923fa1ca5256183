import { CodedError, EXIT, type FaultTable } from '../core/coded-error.ts'

export type PeerFault =
  | { code: 'CONTENT_UNAVAILABLE'; cid: string }
  | {
      code: 'EXTENT_UNAVAILABLE'
      cid: string
      /** Number of the extent within its object. */
      extent: number
      /** Shards of its stripe that are enough, and those that came or were coming. */
      needed: number
      present: number
      /** Whose shards did not come, why, and since when. */
      missing: string
      institutions: readonly string[]
      /** CIDs of the shards that did not come. */
      shards: readonly string[]
    }
  | { code: 'CONTENT_HASH_UNSUPPORTED'; cid: string }
  | { code: 'CONTENT_NOT_A_FILE'; cid: string }
  | { code: 'CONTENT_RANGE'; start: number; end: number; bytes: number }
  | { code: 'CONTENT_SIZE_LIES'; cid: string; said: number; bytes: number }
  | { code: 'UPLOAD_UNKNOWN' }
  | { code: 'UPLOAD_BUSY' }
  | { code: 'UPLOAD_OFFSET'; offset: number; acknowledged: number }
  | { code: 'UPLOAD_OVERRUN'; bytes: number }
  | { code: 'UPLOAD_TOO_MANY'; openMax: number }
  | { code: 'UPLOADS_NOT_NAMED'; wholeMax: number }
  | { code: 'UPLOAD_TOO_LARGE'; bytes: number; bytesMax: number }
  | { code: 'CAR_IMPORTS_TOO_MANY'; importsMax: number }
  | { code: 'CAR_INCOMPLETE'; cid: string }
  | { code: 'OBJECT_INCOMPLETE'; cid: string }
  | { code: 'OBJECT_NOT_PLACED'; cid: string }
  | { code: 'OBJECT_NAME_TAKEN'; cid: string; institution: string }
  | { code: 'OBJECT_NOT_ON_LEDGER'; cid: string }
  | { code: 'PINS_TOO_MANY'; pinsMax: number }
  | { code: 'PIN_UNKNOWN'; cid: string }
  | { code: 'OBJECT_SIZE_LIES'; said: number; bytes: number }
  | { code: 'SHARD_WRONG_CHAIN'; chain: string }
  | { code: 'SHARD_EXPIRY'; expiresMs: number; earliestMs: number; latestMs: number }
  | { code: 'SHARD_NOT_ASSIGNED'; column: number; peer: string }
  | { code: 'SHARD_MAP_DIFFERS'; field: string }
  | { code: 'SHARD_ALTERED'; column: number; stripe: number }
  | { code: 'SHARD_ORDER'; stripe: number; after: number }
  | { code: 'SHARD_OVERRUN'; bytes: number; reservedBytes: number }
  | { code: 'SHARD_COPIES_TOO_MANY'; copiesMax: number }
  | { code: 'SHARD_COLUMN_INCOMPLETE'; column: number; stripe: number }
  | { code: 'SHARD_COPY_MISSING'; digest: string }
  | { code: 'SHARD_RECEIPT_WRONG'; column: number }
  | { code: 'STAGED_TOO_MANY'; columnsMax: number }
  | { code: 'STAGED_BYTES_TOO_MANY'; bytes: number; bytesMax: number }
  | { code: 'PLACEMENT_SEGMENT_MISSING' }
  | { code: 'PLACEMENT_NO_TABLE' }
  | { code: 'PLACEMENTS_TOO_MANY'; jobsMax: number }
  | { code: 'OBJECT_NOT_SMALL'; bytes: number; bytesMax: number }
  | { code: 'LEDGER_NO_VALIDATOR'; institutions: string }
  | { code: 'LEDGER_UNKNOWN'; what: string }
  | { code: 'LEDGER_DIFFERS'; reason: string }
  | { code: 'LEDGER_NOT_FOUND'; reason: string }
  | { code: 'LEDGER_REBUILT_OFTEN'; times: number; reason: string }
  | { code: 'SNAPSHOT_NO_SOURCE'; height: number }
  | { code: 'SYNC_HEAD_UNPROVED'; head: number }
  | { code: 'ATTEST_TYPE'; type: string }
  | { code: 'IDENTITY_EXISTS'; folder: string }
  | { code: 'IDENTITY_MISSING'; folder: string }
  | { code: 'PASSPHRASE_UNREADABLE'; file: string }
  | { code: 'BLOCKS_ELSEWHERE'; dir: string }
  | { code: 'GENESIS_UNREADABLE'; file: string }
  | { code: 'TEMPLATE_INVALID'; file: string; problem: string }
export class PeerError extends CodedError<PeerFault> {}

export const peerFaults = {
  OBJECT_NOT_ON_LEDGER: {
    says: 'The ledger knows no object {cid}, or none that was erased.',
    todo: 'Name the CID that "put" printed as object; a certificate is there once the object is erased.',
    http: 404,
    exit: EXIT.notFound,
  },
  PINS_TOO_MANY: {
    says: 'This peer keeps {pinsMax} things for its users, and takes no more.',
    todo: 'Unpin what is no longer needed: "apotheca pin list", "apotheca pin remove CID".',
    http: 507,
    exit: EXIT.capacity,
  },
  PIN_UNKNOWN: {
    says: '{cid} is not pinned on this peer.',
    todo: 'Look at "apotheca pin list".',
    http: 404,
    exit: EXIT.notFound,
  },
  CONTENT_UNAVAILABLE: {
    says: 'No peer that is connected now has {cid}.',
    todo: 'Check the CID; look at "apotheca peer status" for members that are away, and try again when they are back.',
    http: 404,
    exit: EXIT.notFound,
  },
  EXTENT_UNAVAILABLE: {
    says: '{cid} cannot be read now: {needed} shards of it are needed, {present} are there. Missing: {missing}.',
    todo: 'Nothing is lost while the disks of these institutions are whole. Bring back the peers of enough of them, then run the command again: it resumes. "apotheca peer status" shows who is connected.',
    http: 503,
    exit: EXIT.unavailable,
  },
  CONTENT_HASH_UNSUPPORTED: {
    says: '{cid} does not name its content by sha2-256.',
    todo: 'Use a CID of this network: all of them are sha2-256.',
    http: 400,
    exit: EXIT.usage,
  },
  CONTENT_NOT_A_FILE: {
    says: '{cid} is a folder, not a file.',
    todo: 'Name a file in it, or fetch the object with "apotheca get".',
    http: 409,
    exit: EXIT.usage,
  },
  CONTENT_RANGE: {
    says: 'Bytes {start} to {end} lie outside of the {bytes} bytes of this file.',
    todo: 'Ask for a range inside.',
    http: 416,
    exit: EXIT.usage,
  },
  CONTENT_SIZE_LIES: {
    says: 'The tree of this file says that {cid} has {said} bytes; it has {bytes}.',
    todo: 'Whoever stored it must store it again.',
    http: 422,
    exit: EXIT.integrity,
  },
  UPLOAD_UNKNOWN: {
    says: 'There is no such upload here; it may have expired.',
    todo: 'Start it again.',
    http: 404,
    exit: EXIT.notFound,
  },
  UPLOAD_BUSY: {
    says: 'This upload is receiving bytes over another connection.',
    todo: 'Wait until that one has ended.',
    http: 409,
    exit: EXIT.conflict,
  },
  UPLOAD_OFFSET: {
    says: 'Bytes were sent from {offset} on, but {acknowledged} are acknowledged.',
    todo: 'Ask with HEAD, and go on at the offset it tells.',
    http: 409,
    exit: EXIT.conflict,
  },
  UPLOAD_OVERRUN: {
    says: 'At least {bytes} bytes more were sent than the upload was opened for.',
    todo: 'Open a new upload with the right length.',
    http: 413,
    exit: EXIT.usage,
  },
  UPLOADS_NOT_NAMED: {
    says: 'There are {wholeMax} whole uploads already that no object names.',
    todo: 'Commit the objects that they are of, or drop them; after some days without progress they go by themselves.',
    http: 503,
    exit: EXIT.unavailable,
  },
  UPLOAD_TOO_MANY: {
    says: 'There are {openMax} unfinished uploads already.',
    todo: 'Finish or drop some, or raise uploads.openMax in the config of the peer.',
    http: 503,
    exit: EXIT.unavailable,
  },
  UPLOAD_TOO_LARGE: {
    says: 'The upload has {bytes} bytes; at most {bytesMax} are accepted.',
    todo: 'Split the file.',
    http: 413,
    exit: EXIT.capacity,
  },
  CAR_IMPORTS_TOO_MANY: {
    says: 'This peer is taking in {importsMax} CARs already.',
    todo: 'Try again when one of them has ended.',
    http: 503,
    exit: EXIT.unavailable,
  },
  CAR_INCOMPLETE: {
    says: 'The CAR is not whole: {cid} is below one of its roots, and neither in it nor on this peer.',
    todo: 'Export it again, whole; nothing of it was kept.',
    http: 422,
    exit: EXIT.integrity,
  },
  OBJECT_NAME_TAKEN: {
    says: 'On the ledger {cid} is an object of {institution}, and not the one that lies here.',
    todo: 'It stays on this peer. Ask {institution}, and put it again: then it has another name.',
    http: 409,
    exit: EXIT.conflict,
  },
  OBJECT_NOT_PLACED: {
    says: 'The object {cid} is not placed on the network: the ledger has no whole object of this name.',
    todo: 'Check the CID; if it was stored just now, wait until "apotheca put" says "stored". With a single storage peer nothing is placed.',
    http: 404,
    exit: EXIT.notFound,
  },
  OBJECT_INCOMPLETE: {
    says: 'The block {cid} of this object is not here.',
    todo: 'Upload all of its files before its manifest.',
    http: 422,
    exit: EXIT.integrity,
  },
  OBJECT_SIZE_LIES: {
    says: 'The manifest says {said} bytes, its content has {bytes}.',
    todo: 'Correct the manifest.',
    http: 422,
    exit: EXIT.integrity,
  },
  SHARD_WRONG_CHAIN: {
    says: 'The column is for another chain, {chain}.',
    todo: 'Compare the genesis of both peers: they are members of two consortiums.',
    http: 409,
    exit: EXIT.conflict,
  },
  SHARD_EXPIRY: {
    says: 'The receipt is to hold until {expiresMs}; by block time {earliestMs} to {latestMs} are possible.',
    todo: 'Nothing: the sender asks again by itself. If it stays so, one of the two peers does not follow the ledger.',
    http: 409,
    exit: EXIT.conflict,
  },
  SHARD_NOT_ASSIGNED: {
    says: 'By the placement table here, column {column} of that extent belongs to {peer}.',
    todo: 'Nothing: the sender asks again by itself when both peers know the same table.',
    http: 409,
    exit: EXIT.conflict,
  },
  SHARD_MAP_DIFFERS: {
    says: 'The extent map does not fit what it came with: {field}.',
    todo: 'The sender is at fault: report it, with the versions of both peers.',
    http: 422,
    exit: EXIT.integrity,
  },
  SHARD_ALTERED: {
    says: 'A shard of column {column} (stripe {stripe}; -1: a copy) is not what its hashes say. Nothing was stored of it.',
    todo: 'The sender sends it again by itself. Look at the health of its disk and memory.',
    http: 422,
    exit: EXIT.integrity,
  },
  SHARD_ORDER: {
    says: 'The shard of stripe {stripe} came after that of stripe {after}.',
    todo: 'The sender is at fault: report it, with the versions of both peers.',
    http: 400,
    exit: EXIT.usage,
  },
  SHARD_OVERRUN: {
    says: 'The column, or what every holder keeps whole beside it, has at least {bytes} bytes; room for {reservedBytes} was reserved.',
    todo: 'The sender is at fault: report it, with the versions of both peers.',
    http: 413,
    exit: EXIT.usage,
  },
  SHARD_COPIES_TOO_MANY: {
    says: 'More than {copiesMax} blocks came that every holder of the extent keeps whole.',
    todo: 'The sender is at fault: report it, with the versions of both peers.',
    http: 413,
    exit: EXIT.usage,
  },
  SHARD_COLUMN_INCOMPLETE: {
    says: 'The shard of stripe {stripe} of column {column} is not here.',
    todo: 'Nothing: the sender asks again by itself what is missing.',
    http: 409,
    exit: EXIT.conflict,
  },
  SHARD_COPY_MISSING: {
    says: 'The block with SHA-256 {digest}, which every holder of the extent keeps, is not here.',
    todo: 'Nothing: the sender asks again by itself what is missing.',
    http: 409,
    exit: EXIT.conflict,
  },
  SHARD_RECEIPT_WRONG: {
    says: 'The receipt for column {column} is not a signature of its holder under what it was given.',
    todo: 'The object is placed without that peer where enough others take their columns. Tell its operator.',
    http: 502,
    exit: EXIT.integrity,
  },
  EXTENT_HOLDERS_TOO_FEW: {
    says: 'Extent {index} has {columns} holders; {needed} are needed. Missing: {missing}.',
    todo: 'Nothing: the peer tries again by itself. Look at those members with "apotheca peer status".',
    http: 503,
    exit: EXIT.unavailable,
  },
  TX_UNDECIDED: {
    says: 'The transaction {tx} of this institution is neither final nor refused after {waitedMs} ms.',
    todo: 'Nothing: the peer tries again by itself. Look at "apotheca peer status" for what holds up the ledger.',
    http: 503,
    exit: EXIT.unavailable,
  },
  PLACEMENT_SEGMENT_MISSING: {
    says: 'A block of the object is not in the store of this peer any more.',
    todo: 'Store the object again; look at the health of the disk.',
    http: 500,
    exit: EXIT.integrity,
  },
  PLACEMENT_NO_TABLE: {
    says: 'The ledger has no placement table.',
    todo: 'Nothing: the peer places the object by itself when there is one.',
    http: 503,
    exit: EXIT.unavailable,
  },
  PLACEMENTS_TOO_MANY: {
    says: 'There are {jobsMax} objects already that wait to be placed on the network.',
    todo: 'Look at "apotheca peer status" for members that are away; store more when they are back.',
    http: 503,
    exit: EXIT.capacity,
  },
  OBJECT_NOT_SMALL: {
    says: 'Critical objects have at most {bytesMax} bytes in all; this one has {bytes}.',
    todo: 'Store it without --critical.',
    http: 413,
    exit: EXIT.capacity,
  },
  STAGED_TOO_MANY: {
    says: 'This peer already keeps {columnsMax} columns that the ledger does not name yet, from that institution or in all.',
    todo: 'Nothing: those that are not named in time are given up, and the sender asks again.',
    http: 503,
    exit: EXIT.capacity,
  },
  STAGED_BYTES_TOO_MANY: {
    says: 'With this column, {bytes} bytes of one institution would lie here that the ledger does not name; {bytesMax} may.',
    todo: 'Nothing: what is not named in time is given up after some days, and the sender asks again. Look at whether the ledger goes on.',
    http: 503,
    exit: EXIT.capacity,
  },
  LEDGER_NO_VALIDATOR: {
    says: 'No validator answers; validators are in: {institutions}.',
    todo: 'Look at "apotheca peer status"; send the transaction again when a validator is connected.',
    http: 503,
    exit: EXIT.unavailable,
  },
  LEDGER_UNKNOWN: {
    says: 'The ledger has no such {what}.',
    todo: 'Check the id; if it is new, wait until this peer has caught up.',
    http: 404,
    exit: EXIT.notFound,
  },
  LEDGER_DIFFERS: {
    says: 'A block that the validators made final does not follow from the state here ({reason}).',
    todo: 'The peer rebuilds its ledger from the others by itself. If it comes back, look at the health of its disk and memory, and compare its version with that of the others.',
    http: 500,
    exit: EXIT.integrity,
  },
  LEDGER_NOT_FOUND: {
    says: 'The ledger of this peer is damaged ({reason}), and no member that is connected shows that it has it.',
    todo: 'Let at least one other member be connected: the peer then rebuilds its ledger by itself. If no other has it, bring back the data folder from a copy.',
    http: 503,
    exit: EXIT.unavailable,
  },
  LEDGER_REBUILT_OFTEN: {
    says: 'The ledger of this peer was rebuilt {times} times since it was started, and is damaged again ({reason}).',
    todo: 'Look at the health of the disk and the memory, and at the version of the peer, then start it again.',
    http: 503,
    exit: EXIT.integrity,
  },
  SNAPSHOT_NO_SOURCE: {
    says: 'No member gives the rest of the snapshot at height {height}.',
    todo: 'The peer goes on where it was, by itself, with a newer snapshot if need be; the log names the members that were passed over, and why.',
    http: 503,
    exit: EXIT.unavailable,
  },
  SYNC_HEAD_UNPROVED: {
    says: 'A member says that its newest block has the height {head}, and shows no such block.',
    todo: 'The peer goes on with other members. If the member stays like that, tell its institution.',
    http: 502,
    exit: EXIT.integrity,
  },
  ATTEST_TYPE: {
    says: 'An institution attests new accounts with one signature of their own, not {type}.',
    todo: 'Send an account.create that its account has signed; send other transactions to /api/v1/ledger/transactions.',
    http: 400,
    exit: EXIT.usage,
  },
  IDENTITY_EXISTS: {
    says: 'There are keys in {folder} already.',
    todo: 'Use them, or choose another data folder; keys are never overwritten.',
    http: 409,
    exit: EXIT.conflict,
  },
  IDENTITY_MISSING: {
    says: 'There are no keys in {folder}.',
    todo: 'Make them with "apotheca peer init".',
    http: 500,
    exit: EXIT.notFound,
  },
  PASSPHRASE_UNREADABLE: {
    says: 'The passphrase file {file} cannot be read, is empty, or others may read it.',
    todo: 'Check the path; make its mode 0600.',
    http: 401,
    exit: EXIT.usage,
  },
  BLOCKS_ELSEWHERE: {
    says: 'The folder {dir} says that this peer keeps blocks where store.s3 of the config file no longer leads.',
    todo: 'Put store.s3 back as it was: blocks are not moved between disk and bucket. Remove the folder only when all that this peer held is held by others.',
    http: 500,
    exit: EXIT.conflict,
  },
  GENESIS_UNREADABLE: {
    says: 'The genesis file {file} cannot be read.',
    todo: 'Make one with "apotheca network create", or copy that of the consortium.',
    http: 500,
    exit: EXIT.usage,
  },
  TEMPLATE_INVALID: {
    says: 'The genesis template {file} is wrong: {problem}.',
    todo: 'Compare it with peer-configs/demo/genesis.template.json.',
    http: 400,
    exit: EXIT.usage,
  },
} as const satisfies FaultTable
