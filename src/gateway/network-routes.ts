/** The network over HTTP: its members, its placement table, and this institution's leave. */
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { PeerIdText } from '../ledger/fields.ts'
import { drainInstitution, offerAgain } from '../peer/drain.ts'
import { type LayoutPeerState, type LayoutState, readLayout, readPeerStates } from '../peer/layout.ts'
import { type MemberState, readMembers } from '../peer/members.ts'
import type { Peer } from '../peer/peer.ts'
import { sendDagJson } from './dag-json-reply.ts'

/** `GET /network/layout` */
export interface LayoutAnswer extends LayoutState {
  readonly height: number
  /** The most that this peer takes from the network in a second for what it is given anew; others may have another limit. */
  readonly repairBytesPerSecond: number
}

/** `GET /network/members` */
export interface MembersAnswer {
  readonly height: number
  readonly members: readonly MemberState[]
}

/** `GET /network/leave`: what this institution's peers still hold. */
export interface LeaveAnswer {
  readonly institution: string
  readonly peers: readonly LayoutPeerState[]
}

/** `POST /network/leave` and `DELETE /network/leave` */
export interface ChangedAnswer {
  /** Storage peers whose state is another now. */
  readonly changed: readonly PeerIdText[]
}

const tags = ['network']

export function networkRoutes(api: FastifyInstance, peer: Peer): void {
  const { chain, institution } = peer

  api.get(
    '/network/members',
    { schema: { summary: 'Member institutions and their peers, as the ledger has them', tags } },
    async (_request, reply) => {
      const answer: MembersAnswer = { height: chain.head.height, members: await readMembers(peer) }
      await sendDagJson(reply, answer)
    },
  )

  api.get(
    '/network/layout',
    { schema: { summary: 'The placement table in force, offers of room, and what is placed', tags } },
    async (_request, reply) => {
      const answer: LayoutAnswer = {
        height: chain.head.height,
        repairBytesPerSecond: peer.repairer.bytesPerSecondMax,
        ...(await readLayout(chain.reader)),
      }
      await sendDagJson(reply, answer)
    },
  )

  api.get(
    '/network/leave',
    { schema: { summary: 'What the storage peers of this institution still hold', tags } },
    async (_request, reply) => {
      const peers = (await readPeerStates(chain.reader)).filter((one) => one.institution === institution)
      await sendDagJson(reply, { institution, peers } satisfies LeaveAnswer)
    },
  )

  api.post(
    '/network/leave',
    { schema: { summary: 'Drain the storage peers of this institution: the first step of leaving', tags } },
    async (_request, reply) => {
      const answer: ChangedAnswer = { changed: await drainInstitution(peer, closed(reply)) }
      await sendDagJson(reply, answer)
    },
  )

  api.delete(
    '/network/leave',
    { schema: { summary: 'Offer the room of draining storage peers of this institution again', tags } },
    async (_request, reply) => {
      const answer: ChangedAnswer = { changed: await offerAgain(peer, closed(reply)) }
      await sendDagJson(reply, answer)
    },
  )
}

/** Aborted when whoever asked is gone. */
function closed(reply: FastifyReply): AbortSignal {
  const gone = new AbortController()
  reply.raw.once('close', () => gone.abort())
  return gone.signal
}
