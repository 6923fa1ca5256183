/** Proposes blocks that nothing justifies: on an older block, with views between that were not given up, or with forged certificates. */
import { encodeMessage } from '../../../src/consensus/messages.ts'
import { bodyCid, decodeBody, encodeBody } from '../../../src/ledger/block-body.ts'
import { encodeHeader, headerId } from '../../../src/ledger/header.ts'
import { leaderOf } from '../../../src/ledger/validators.ts'
import {
  type Forged,
  type HonestProposal,
  type Means,
  type Traitor,
  forging,
  othersOf,
  setOf,
  signAnything,
} from './attack.ts'

const forges = forging((means, honest) => means.random.pick([lacksViews, forgesCertificate])(means, honest))

export const badJustification: Traitor = (means) => {
  let last = 0
  return {
    ...forges(means),
    hears: () => {
      const view = means.replica.state?.view ?? 0
      if (view <= last || setOf(means).validators[leaderOf(setOf(means), view)]?.institution !== means.institution)
        return
      last = view
      if (means.random.chance(0.7)) skipBlocks(means, view).catch(() => undefined)
    },
  }
}

/** Before the block of the view before can be final: on the one that is, as if there were nothing above it. */
async function skipBlocks(means: Means, view: number): Promise<void> {
  const { head, reader } = means.chain
  const { body, fields, header } = await means.chain.propose({
    parent: head.id,
    view,
    timeMs: Math.max(head.timeMs + 1, means.wallMs()),
    proposer: means.institution,
    justify: { parentCert: (await reader.certificateAt(head.height)) ?? null, nullifyCerts: [] },
    txs: [],
  })
  const { epoch } = fields
  const vote = await signAnything(means, { epoch, view, kind: 'notarize', block: headerId(header) })
  if (vote === undefined) return
  const bytes = encodeMessage({ type: 'proposal', header, body, again: null, vote })
  for (const to of othersOf(means)) means.send(to, bytes)
}

async function lacksViews(_means: Means, { body, header, justify }: HonestProposal): Promise<Forged> {
  const kept = justify.nullifyCerts.slice(1)
  return reworded({ body, header, justify: { parentCert: justify.parentCert, nullifyCerts: kept } })
}

async function forgesCertificate({ random }: Means, { body, header, justify }: HonestProposal): Promise<Forged> {
  const { parentCert } = justify
  if (parentCert === null) return reworded({ body, header, justify })
  const sigs = parentCert.sigs.with(random.between(0, parentCert.sigs.length - 1), random.bytes(64))
  return reworded({ body, header, justify: { ...justify, parentCert: { ...parentCert, sigs } } })
}

function reworded({ body, header, justify }: HonestProposal): Forged {
  const bytes = encodeBody({ ...decodeBody(body), justify })
  return { header: encodeHeader({ ...header, body: bodyCid(bytes) }), body: bytes }
}
