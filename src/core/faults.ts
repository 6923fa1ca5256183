import { EXIT, type FaultTable } from './coded-error.ts'

export const coreFaults = {
  CODEC_TOO_LARGE: {
    says: 'The structure has {bytes} bytes; at most {bytesMax} are accepted.',
    todo: 'Send a smaller structure.',
    http: 413,
    exit: EXIT.capacity,
  },
  CODEC_TOO_DEEP: {
    says: 'The structure is nested deeper than {depthMax} levels.',
    todo: 'Flatten it; no Apotheca structure is that deep.',
    http: 400,
    exit: EXIT.usage,
  },
  CODEC_TOO_MANY_ITEMS: {
    says: 'The structure has more than {itemsMax} items.',
    todo: 'Split it.',
    http: 413,
    exit: EXIT.capacity,
  },
  CODEC_MALFORMED: {
    says: 'The bytes are not DAG-CBOR: the item at offset {offset} is broken or of a kind that is not allowed.',
    todo: 'Encode with a DAG-CBOR library, without floats, tags other than 42, or indefinite lengths.',
    http: 400,
    exit: EXIT.usage,
  },
  CODEC_NOT_CANONICAL: {
    says: 'The bytes are DAG-CBOR, but not in canonical form.',
    todo: 'Use shortest lengths and keys sorted by length, then bytewise.',
    http: 400,
    exit: EXIT.usage,
  },
  CODEC_SHAPE: {
    says: 'At {path}: expected {expected}.',
    todo: 'Correct that field; docs/spec/ has the table of every structure.',
    http: 400,
    exit: EXIT.usage,
  },
  ID_MALFORMED: {
    says: 'This is not the id of a {kind}: expected {expected}.',
    todo: 'Copy the id again, whole.',
    http: 400,
    exit: EXIT.usage,
  },
  CID_MALFORMED: {
    says: 'This is not a CID: expected {expected}.',
    todo: 'Copy the CID again, whole, without a leading /ipfs/.',
    http: 400,
    exit: EXIT.usage,
  },
} as const satisfies FaultTable
