/** Proposes blocks that nothing justifies: on an older block, with views between that were not given up, or with forged certificates. */
import { bodyCid, decodeBody, encodeBody } from '../../../src/ledger/block-body.ts'
import { encodeHeader } from '../../../src/ledger/header.ts'
import { type Forged, type HonestProposal, type Means, buildOther, forging } from './attack.ts'

export const badJustification = forging((means, honest) =>
  means.random.pick([skipsBlocks, lacksViews, forgesCertificate])(means, honest),
)

/** On the final block, whatever was notarized above it. */
async function skipsBlocks(means: Means, honest: HonestProposal): Promise<Forged> {
  const { head, reader } = means.chain
  const parentCert = (await reader.certificateAt(head.height)) ?? null
  const { nullifyCerts } = honest.justify
  return buildOther(means, honest, { parent: head.id, justify: { parentCert, nullifyCerts } })
}

async function lacksViews(means: Means, { body, header, justify }: HonestProposal): Promise<Forged> {
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
