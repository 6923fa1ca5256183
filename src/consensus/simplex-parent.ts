/** What the next block is built on. */
import type { Justification } from '../ledger/block-body.ts'
import type { Certificate } from '../ledger/certificate.ts'
import { type Block, type Draft, type FinalPoint, isLastOfEpoch } from './simplex-state.ts'

/** What the leader of a view builds on. */
export interface Parent {
  readonly point: Pick<FinalPoint, 'id' | 'height' | 'view' | 'timeMs'>
  readonly justify: Justification
  /** The block itself, where it ends the epoch and isn't final: it must be proposed again. */
  readonly ending: Block | undefined
}

/**
 * The newest notarized block such that every view between it and this one was nullified.
 *
 * @returns `undefined` while that can't be said, or the block isn't executed.
 */
export function parentFor(draft: Draft, view: number): Parent | undefined {
  const { final } = draft.state
  const nullifyCerts: Certificate[] = []
  for (let below = view - 1; below > final.view; below--) {
    const { finalization, notarization, nullification } = draft.view(below)
    const parentCert = notarization ?? finalization
    const held = parentCert?.block === undefined ? undefined : draft.block(parentCert.block)
    if (parentCert !== undefined && held?.status === 'valid') {
      const { header, id } = held.block
      const ending = isLastOfEpoch(header) ? held.block : undefined
      const point = { id, height: header.height, view: below, timeMs: header.timeMs }
      return { point, justify: { parentCert, nullifyCerts: nullifyCerts.reverse() }, ending }
    }
    if (nullification === undefined) return undefined
    nullifyCerts.push(nullification)
  }
  const justify = { parentCert: final.certificate, nullifyCerts: nullifyCerts.reverse() }
  return { point: final, justify, ending: undefined }
}
