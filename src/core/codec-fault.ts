/** What can be wrong with bytes that should be a canonical structure. */
import { CodedError } from './coded-error.ts'

export type CodecFault =
  | { code: 'CODEC_TOO_LARGE'; bytes: number; bytesMax: number }
  | { code: 'CODEC_TOO_DEEP'; depthMax: number }
  | { code: 'CODEC_TOO_MANY_ITEMS'; itemsMax: number }
  | { code: 'CODEC_MALFORMED'; offset: number }
  | { code: 'CODEC_NOT_CANONICAL' }
  | { code: 'CODEC_SHAPE'; path: string; expected: string }
export class CodecError extends CodedError<CodecFault> {}
