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
} as const satisfies FaultTable
