/**
 * Receipts: what became of each transaction of a block. Receipts are hashed into the header, so every peer must write a
 * fault in exactly the same bytes: texts are cut and reduced to printable ASCII here, once, before anything is hashed.
 *
 * @see docs/spec/receipt.md
 */
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import type { Fault } from '../core/coded-error.ts'
import type { TxId } from '../core/ids.ts'
import { BLOCK_TXS_MAX, RECEIPT_FAULT_FIELDS_MAX, RECEIPT_FAULT_TEXT_MAX } from '../core/limits.ts'
import { type Decoder, boolean, list, object, optional, shapeFault, text } from '../core/schema.ts'
import { txId } from './fields.ts'

/** A fault as it stands in a receipt: `code`, and at most 8 fields of bounded plain values. */
export type ReceiptFault = Fault & Readonly<Record<string, string | number | boolean>>

export type Receipt =
  | { readonly tx: TxId; readonly ok: true }
  | { readonly tx: TxId; readonly ok: false; readonly fault: ReceiptFault }

const CODE_PATTERN = /^[A-Z][A-Z0-9_]{1,63}$/
const FIELD_PATTERN = /^[a-z][A-Za-z0-9]{0,31}$/
/** Printable ASCII: no control characters, and no text that two implementations could encode differently. */
const FAULT_TEXT_PATTERN = /^[\x20-\x7e]*$/

const faultCode = text(2, 64, CODE_PATTERN)
const faultText = text(0, RECEIPT_FAULT_TEXT_MAX, FAULT_TEXT_PATTERN)

/** A fault as it stands in a receipt, or in a peer's answer. */
export const receiptFaultFields: Decoder<ReceiptFault> = (value, path) => {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Uint8Array) {
    throw shapeFault(path, 'an object')
  }
  const { code, ...fields } = value as Readonly<Record<string, unknown>>
  const entries = Object.entries(fields)
  if (entries.length > RECEIPT_FAULT_FIELDS_MAX) throw shapeFault(path, `at most ${RECEIPT_FAULT_FIELDS_MAX} fields`)
  const result: Record<string, string | number | boolean> = {}
  for (const [name, field] of entries) {
    if (!FIELD_PATTERN.test(name)) throw shapeFault(path, 'field names of letters and digits')
    if (typeof field === 'boolean' || (typeof field === 'number' && Number.isSafeInteger(field))) result[name] = field
    else result[name] = faultText(field, `${path}.${name}`)
  }
  return { ...result, code: faultCode(code, `${path}.code`) }
}

const receiptFields = object({ tx: txId, ok: boolean, fault: optional(receiptFaultFields) })

const receipt: Decoder<Receipt> = (value, path) => {
  const { tx, ok, fault: given } = receiptFields(value, path)
  if (ok) {
    if (given !== undefined) throw shapeFault(`${path}.fault`, 'no fault where ok is true')
    return { tx, ok }
  }
  if (given === undefined) throw shapeFault(`${path}.fault`, 'a fault where ok is false')
  return { tx, ok, fault: given }
}

const receipts = list(receipt, 0, BLOCK_TXS_MAX)

/** Makes a fault fit for a receipt: unknown kinds of value are left out, texts are cut and made plain. */
export function receiptFault(given: Fault): ReceiptFault {
  const result: Record<string, string | number | boolean> = {}
  const fields = Object.entries(given as unknown as Readonly<Record<string, unknown>>)
  for (const [name, field] of fields.filter(([key]) => key !== 'code' && FIELD_PATTERN.test(key))) {
    if (Object.keys(result).length === RECEIPT_FAULT_FIELDS_MAX) break
    if (typeof field === 'string') result[name] = plainText(field)
    else if (typeof field === 'boolean' || (typeof field === 'number' && Number.isSafeInteger(field))) {
      result[name] = field
    }
  }
  return { ...result, code: given.code }
}

function plainText(value: string): string {
  return value.slice(0, RECEIPT_FAULT_TEXT_MAX).replace(/[^\x20-\x7e]/g, '?')
}

export function encodeReceipt(value: Receipt): Uint8Array {
  return encodeCanonical(value)
}

/** @throws {CodecError} */
export function decodeReceipt(bytes: Uint8Array): Receipt {
  return receipt(decodeCanonical(bytes), 'receipt')
}

export function encodeReceipts(values: readonly Receipt[]): Uint8Array {
  return encodeCanonical(values)
}

/** @throws {CodecError} */
export function decodeReceipts(bytes: Uint8Array): readonly Receipt[] {
  return receipts(decodeCanonical(bytes), 'receipts')
}
