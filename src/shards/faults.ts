import { EXIT, type FaultTable } from '../core/coded-error.ts'

export const shardsFaults = {
  TREE_NODE_INVALID: {
    says: 'The block {cid} is not a part of a file that this network stores: {problem}.',
    todo: 'Check the CID; name the root of a UnixFS file or folder.',
    http: 422,
    exit: EXIT.integrity,
  },
  TREE_TOO_LARGE: {
    says: 'The file has more than {segmentsMax} segments of 1 MiB.',
    todo: 'Split the file.',
    http: 413,
    exit: EXIT.capacity,
  },
  LISTING_INVALID: {
    says: 'The sealed listing of this object is broken: {problem}.',
    todo: 'Whoever stored it must store it again.',
    http: 422,
    exit: EXIT.integrity,
  },
  LISTING_PATH_UNSAFE: {
    says: 'Entry {index} of the listing has a path that is absolute, leads outside, has control characters, is too long, or stands twice.',
    todo: 'Rename the file before storing it; when fetching, ask whoever stored it.',
    http: 422,
    exit: EXIT.integrity,
  },
  LISTING_TOO_LARGE: {
    says: 'The folder has more than {filesMax} files.',
    todo: 'Store its subfolders one by one.',
    http: 413,
    exit: EXIT.capacity,
  },
  EXTENT_MAP_INVALID: {
    says: 'The extent map does not hold together: {problem}.',
    todo: 'Fetch it again from another holder; report the peer that gave it.',
    http: 422,
    exit: EXIT.integrity,
  },
  EXTENT_MAP_NOT_OF_EXTENT: {
    says: 'The extent map {map} is not what the ledger says of its extent: {field} differs.',
    todo: 'Store the object again; report who committed it.',
    http: 422,
    exit: EXIT.integrity,
  },
  ERASURE_CODE_INVALID: {
    says: 'There is no erasure code of {data} data and {parity} parity shards; at most {dataMax} and {parityMax}.',
    todo: 'Use a code of the placement table.',
    http: 422,
    exit: EXIT.usage,
  },
  ERASURE_SHARD_SIZE: {
    says: 'Shard {shard} has {bytes} bytes in a stripe whose shards have {shardBytes}.',
    todo: 'Fetch the shard again, from another holder.',
    http: 422,
    exit: EXIT.integrity,
  },
  ERASURE_SHARDS_MISSING: {
    says: 'Only {present} shards of the stripe are there; {needed} are needed.',
    todo: 'Try again when more of the peers that hold them are reachable.',
    http: 503,
    exit: EXIT.unavailable,
  },
  ERASURE_WANTED_INVALID: {
    says: 'Shard {shard} cannot be rebuilt: it is there already, asked for twice, or not of this code.',
    todo: 'Ask for missing shards, each once.',
    http: 422,
    exit: EXIT.usage,
  },
  DAG_BLOCK_INVALID: {
    says: 'The block {cid} cannot be stored or followed here: {problem}.',
    todo: 'Only blocks of raw, dag-pb and canonical dag-cbor with sha2-256 are kept; add the content again in such a form.',
    http: 422,
    exit: EXIT.integrity,
  },
  DAG_TOO_LARGE: {
    says: 'There are more than {blocksMax} blocks, or too many links in one of them.',
    todo: 'Export or import its parts one by one.',
    http: 413,
    exit: EXIT.capacity,
  },
  CAR_MALFORMED: {
    says: 'The CAR is broken at byte {atBytes}: {problem}.',
    todo: 'Export it again; "ipfs dag export" and "apotheca car export" write what is understood here.',
    http: 422,
    exit: EXIT.integrity,
  },
  CAR_VERSION: {
    says: 'This is a CAR of version 2.',
    todo: 'Take out the version 1 in it, with "car get-dag" or "ipfs dag import" and "ipfs dag export", and import that.',
    http: 415,
    exit: EXIT.usage,
  },
  CAR_ROOTS: {
    says: 'The CAR names {roots} roots; 1 to {rootsMax} are needed.',
    todo: 'Export it again with the CIDs that it is about as its roots.',
    http: 422,
    exit: EXIT.usage,
  },
  CAR_TRUNCATED: {
    says: 'The CAR ends in the middle of what begins at byte {atBytes}.',
    todo: 'Copy or export it again, whole.',
    http: 422,
    exit: EXIT.integrity,
  },
  CAR_BLOCK_TOO_LARGE: {
    says: 'At byte {atBytes} the CAR announces {bytes} bytes at once; at most {bytesMax} are accepted.',
    todo: 'Add the content again in blocks of at most 1 MiB.',
    http: 413,
    exit: EXIT.capacity,
  },
  CAR_BLOCK_ALTERED: {
    says: 'The block at byte {atBytes} of the CAR is not {cid}, as it says it is.',
    todo: 'Copy or export the CAR again; something changed it on its way.',
    http: 422,
    exit: EXIT.integrity,
  },
} as const satisfies FaultTable
