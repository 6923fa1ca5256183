import { CodedError, EXIT, type FaultTable } from '../core/coded-error.ts'

export type CliFault =
  | { code: 'PEER_NOT_RUNNING'; folder: string }
  | { code: 'PEER_FILE_INVALID'; file: string }
  | { code: 'PEER_UNREACHABLE'; url: string }
  | { code: 'PEER_BROKE_OFF' }
  | { code: 'PEER_ANSWER_INVALID' }
  | { code: 'PASSPHRASE_NEEDED' }
  | { code: 'PASSPHRASE_DIFFERS' }
  | { code: 'ACCOUNT_KEY_MISSING'; name: string }
  | { code: 'ACCOUNT_NEEDED'; known: string }
  | { code: 'ACCOUNT_KEYS_DIFFER'; account: string }
  | { code: 'KEYSTORE_EXISTS'; file: string }
  | { code: 'PUT_UNREADABLE'; reason: string }
  | { code: 'PUT_NOT_A_FILE' }
  | { code: 'PUT_UNDER_WAY' }
  | { code: 'PUT_FILE_CHANGED' }
  | { code: 'PUT_ANSWER_LIES' }
  | { code: 'UPLOAD_JOURNAL_INVALID'; file: string }
  | { code: 'KEY_NOT_GRANTED'; account: string }
  | { code: 'TARGET_UNKNOWN' }
  | { code: 'TARGET_NOT_AN_OBJECT'; cid: string }
  | { code: 'RECORD_VERSION_UNKNOWN'; version: number; versions: number }
  | { code: 'CAR_UNREADABLE'; reason: string }
  | { code: 'CAR_ORDER'; cid: string }
  | { code: 'OUTPUT_EXISTS' }
  | { code: 'OUTPUT_UNWRITABLE'; reason: string }
  | { code: 'CONTENT_SHORT'; said: number; bytes: number }
  | { code: 'CONTENT_CID_DIFFERS'; expected: string; found: string }
  | { code: 'VERIFY_DIFFERS'; files: number; first: number }
  | { code: 'TX_REFUSED'; refusal: string; sentence: string; todo: string }
  | { code: 'TX_NOT_FINAL'; id: string; waitedMs: number }
  | { code: 'CHECK_CHAIN_NEEDED' }
  | { code: 'CHECK_UNREADABLE'; file: string; reason: string }
  | { code: 'CHECK_GENESIS_DIFFERS'; chain: string; expected: string }
  | { code: 'PROOF_NAME_WRONG'; expected: string }
  | { code: 'PROOF_ANSWER_OTHER' }
  | { code: 'ADMIN_KEY_MISSING'; file: string }
  | { code: 'ADMIN_KEY_UNKNOWN'; file: string }
  | { code: 'VALIDATORS_CHANGE_NEEDED' }
  | { code: 'LAYOUT_OFFERS_NO_ROOM'; institution: string }
  | { code: 'MEMBER_CHANGE_INVALID'; expected: string }
  | { code: 'INTERRUPTED' }
export class CliError extends CodedError<CliFault> {}

export const cliFaults = {
  PEER_NOT_RUNNING: {
    says: 'No peer runs in {folder}.',
    todo: 'Start one with "apotheca peer start", or name the data folder of a running one with --peer.',
    http: 503,
    exit: EXIT.unavailable,
  },
  PEER_FILE_INVALID: {
    says: 'The file {file} is not what a running peer writes.',
    todo: 'Restart the peer; it writes the file anew.',
    http: 500,
    exit: EXIT.usage,
  },
  PEER_UNREACHABLE: {
    says: 'The peer at {url} does not answer.',
    todo: 'Look whether it runs ("apotheca peer status"); an interrupted put or get goes on where it was when repeated.',
    http: 503,
    exit: EXIT.unavailable,
  },
  PEER_BROKE_OFF: {
    says: 'The peer broke off in the middle of its answer.',
    todo: 'Repeat the command: it goes on where it was. The log of the peer says why.',
    http: 503,
    exit: EXIT.unavailable,
  },
  PEER_ANSWER_INVALID: {
    says: 'What answered is not an Apotheca peer of this version.',
    todo: 'Check the address in api.json, and that peer and CLI are of one version.',
    http: 502,
    exit: EXIT.unavailable,
  },
  PASSPHRASE_NEEDED: {
    says: 'A passphrase is needed and there is no terminal to ask at.',
    todo: 'Name a file that holds it, mode 0600, with --passphrase-file.',
    http: 401,
    exit: EXIT.usage,
  },
  PASSPHRASE_DIFFERS: {
    says: 'The two passphrases are not the same.',
    todo: 'Type the same one twice.',
    http: 400,
    exit: EXIT.usage,
  },
  ACCOUNT_KEY_MISSING: {
    says: 'There is no keystore named {name} here.',
    todo: 'Make one with "apotheca key create {name}", or choose another with --as.',
    http: 404,
    exit: EXIT.notFound,
  },
  ACCOUNT_NEEDED: {
    says: 'It is not clear which account to act as; known here: {known}.',
    todo: 'Choose one with --as NAME, or make one with "apotheca key create NAME".',
    http: 400,
    exit: EXIT.usage,
  },
  ACCOUNT_KEYS_DIFFER: {
    says: 'The keys that the peer gave for {account} are not those that its id is made of.',
    todo: 'Do not trust this peer, and tell its operator: nothing was sealed. Ask another peer.',
    http: 502,
    exit: EXIT.integrity,
  },
  KEYSTORE_EXISTS: {
    says: 'The keystore {file} is already there.',
    todo: 'Choose another name; a keystore is never overwritten.',
    http: 409,
    exit: EXIT.conflict,
  },
  PUT_UNREADABLE: {
    says: 'The file or folder to store cannot be read: {reason}.',
    todo: 'Check the path and its permissions.',
    http: 400,
    exit: EXIT.usage,
  },
  PUT_NOT_A_FILE: {
    says: 'Only files and folders can be stored; there is a link, device or socket among them.',
    todo: 'Replace it with what it points to, or leave it out.',
    http: 400,
    exit: EXIT.usage,
  },
  PUT_UNDER_WAY: {
    says: 'Another process is putting this very file or folder.',
    todo: 'Wait for it, or end it: repeated after that, this goes on where it stopped.',
    http: 409,
    exit: EXIT.conflict,
  },
  PUT_FILE_CHANGED: {
    says: 'A file changed while it was being stored; nothing of it was kept.',
    todo: 'Repeat the command when nobody writes to it.',
    http: 409,
    exit: EXIT.conflict,
  },
  PUT_ANSWER_LIES: {
    says: 'The peer names other content than what was sent to it.',
    todo: 'Do not trust this peer; tell its operator.',
    http: 502,
    exit: EXIT.integrity,
  },
  UPLOAD_JOURNAL_INVALID: {
    says: 'The note of an interrupted upload, {file}, is damaged.',
    todo: 'Repeat with --restart: it starts the upload anew.',
    http: 400,
    exit: EXIT.integrity,
  },
  KEY_NOT_GRANTED: {
    says: 'The account {account} has no key to this object, and no grant in force.',
    todo: 'Ask the patient for a grant ("apotheca consent grant"); --sealed fetches the ciphertext alone.',
    http: 403,
    exit: EXIT.denied,
  },
  TARGET_UNKNOWN: {
    says: 'This is neither a CID nor the id of a record.',
    todo: 'Give a CID (baf…) or a record (rec1…), whole.',
    http: 400,
    exit: EXIT.usage,
  },
  TARGET_NOT_AN_OBJECT: {
    says: '{cid} is not an object that "put" stored.',
    todo: 'Give the CID that "put" printed as object; --sealed fetches any file of the network as it lies there.',
    http: 422,
    exit: EXIT.usage,
  },
  RECORD_VERSION_UNKNOWN: {
    says: 'The record has the versions 1 to {versions}, and no version {version}.',
    todo: 'See "apotheca record show" for the versions; without --version-number the newest is taken.',
    http: 404,
    exit: EXIT.notFound,
  },
  CAR_UNREADABLE: {
    says: 'The CAR file cannot be read: {reason}.',
    todo: 'Check the path and its permissions.',
    http: 400,
    exit: EXIT.usage,
  },
  CAR_ORDER: {
    says: 'The peer did not send what is below that CID: {cid} is missing, or something else came in its place.',
    todo: 'Update the peer; if it is of this version, its machine is broken or lies.',
    http: 502,
    exit: EXIT.integrity,
  },
  OUTPUT_EXISTS: {
    says: 'The output is already there.',
    todo: 'Choose another place with --out, or --force to overwrite.',
    http: 409,
    exit: EXIT.conflict,
  },
  OUTPUT_UNWRITABLE: {
    says: 'The output cannot be written: {reason}.',
    todo: 'Check the path, its permissions, and the room on the disk; repeating the command goes on where it was.',
    http: 507,
    exit: EXIT.capacity,
  },
  CONTENT_SHORT: {
    says: 'The object should have {said} bytes, but has {bytes}.',
    todo: 'Whoever stored it must store it again.',
    http: 422,
    exit: EXIT.integrity,
  },
  CONTENT_CID_DIFFERS: {
    says: 'The bytes have the CID {found}, not {expected}.',
    todo: 'Fetch again; if it stays so, the peer is not to be trusted.',
    http: 422,
    exit: EXIT.integrity,
  },
  VERIFY_DIFFERS: {
    says: '{files} files here are not what was stored, the first of them number {first} of the listing.',
    todo: 'Fetch them again with "apotheca get".',
    http: 422,
    exit: EXIT.integrity,
  },
  TX_REFUSED: {
    says: 'The ledger refused the transaction ({refusal}): {sentence}',
    todo: '{todo}',
    http: 409,
    exit: EXIT.conflict,
  },
  TX_NOT_FINAL: {
    says: 'The transaction {id} is not final after {waitedMs} ms.',
    todo: 'Look at "apotheca peer status": the ledger may have no validator at hand. The transaction may still become final.',
    http: 504,
    exit: EXIT.unavailable,
  },
  CHECK_CHAIN_NEEDED: {
    says: 'A proof means nothing without knowing which chain it should be of.',
    todo: 'Give the id of the chain with --chain, or its genesis with --genesis, from a source that you trust.',
    http: 400,
    exit: EXIT.usage,
  },
  CHECK_UNREADABLE: {
    says: 'The file {file} cannot be read: {reason}.',
    todo: 'Check the path and its permissions.',
    http: 400,
    exit: EXIT.usage,
  },
  CHECK_GENESIS_DIFFERS: {
    says: 'The genesis given is that of the chain {chain}, not of {expected}.',
    todo: 'Find out from a source that you trust which of the two is right, and give that one.',
    http: 400,
    exit: EXIT.usage,
  },
  PROOF_NAME_WRONG: {
    says: 'This is not what can be proved; expected {expected}.',
    todo: 'See "apotheca ledger proof --help".',
    http: 400,
    exit: EXIT.usage,
  },
  PROOF_ANSWER_OTHER: {
    says: 'The peer answered with a proof of something else than was asked for.',
    todo: 'Do not trust this peer; tell its operator, and ask another peer.',
    http: 502,
    exit: EXIT.integrity,
  },
  ADMIN_KEY_MISSING: {
    says: 'The keystore {file} holds no admin key.',
    todo: 'Give the admin-key.json that "apotheca peer init" made for the institution.',
    http: 400,
    exit: EXIT.usage,
  },
  ADMIN_KEY_UNKNOWN: {
    says: 'The admin key in {file} is that of no institution of this chain.',
    todo: 'Give the admin-key.json that belongs to the identity.json in the genesis, and a peer of that chain with --peer.',
    http: 403,
    exit: EXIT.denied,
  },
  VALIDATORS_CHANGE_NEEDED: {
    says: 'The proposal would change nothing.',
    todo: 'Give --add, --remove or --rotate; or --now alone, to end the epoch.',
    http: 400,
    exit: EXIT.usage,
  },
  LAYOUT_OFFERS_NO_ROOM: {
    says: 'The institution {institution} offers no room.',
    todo: 'Copy its id again, from "apotheca network layout"; with --with it is planned as one that joins.',
    http: 404,
    exit: EXIT.notFound,
  },
  MEMBER_CHANGE_INVALID: {
    says: 'This is not one change of the members; expected {expected}.',
    todo: 'See "apotheca network propose --help".',
    http: 400,
    exit: EXIT.usage,
  },
  INTERRUPTED: {
    says: 'Interrupted.',
    todo: 'Repeat the command: it goes on where it was.',
    http: 499,
    exit: 130,
  },
} as const satisfies FaultTable
