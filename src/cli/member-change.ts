/** The change of members that the flags of `network propose` name. */
import { fromString } from 'uint8arrays/from-string'
import { CodecError } from '../core/codec.ts'
import { type MemberChange, memberChange } from '../domain/member-changes.ts'
import { readPublicIdentity } from '../peer/identity.ts'
import { CliError } from './faults.ts'

export interface MemberFlags {
  readonly admit?: string
  readonly name?: string
  readonly role?: string
  readonly addPeer?: string
  readonly removePeer?: string
  readonly remove?: string
}

/** @throws {CliError} `MEMBER_CHANGE_INVALID`; faults of the identity file */
export async function memberChangeOf(flags: MemberFlags): Promise<MemberChange> {
  const { addPeer, admit, remove, removePeer } = flags
  const given = [admit, addPeer, removePeer, remove].filter((one) => one !== undefined)
  if (given.length !== 1) throw invalid('one of --admit, --add-peer, --remove-peer, --remove')
  if (admit !== undefined) return admission(admit, flags)
  if (remove !== undefined) return checked({ kind: 'remove', institution: remove })
  const [institution, peer] = (addPeer ?? removePeer ?? '').split('=')
  return checked({ kind: addPeer === undefined ? 'remove-peer' : 'add-peer', institution, peer })
}

async function admission(file: string, { name, role }: MemberFlags): Promise<MemberChange> {
  if (name === undefined || role === undefined) throw invalid('--name and --role with --admit')
  const { account, adminKey, institution, peer } = await readPublicIdentity(file)
  const { encryption, signingKey } = account
  return checked({
    kind: 'admit',
    institution,
    admitted: {
      name,
      role,
      adminKey: fromHex(adminKey),
      account: {
        signingKey: fromHex(signingKey),
        encryption: { wrap: encryption.wrap, publicKey: fromString(encryption.publicKey, 'base64pad') },
      },
      peers: [peer],
    },
  })
}

function checked(change: object): MemberChange {
  try {
    return memberChange(change, 'change')
  } catch (error) {
    if (!(error instanceof CodecError) || error.fault.code !== 'CODEC_SHAPE') throw error
    throw invalid(`${error.fault.expected} as ${error.fault.path}`, error)
  }
}

const fromHex = (hex: string): Uint8Array => fromString(hex, 'base16')

function invalid(expected: string, cause?: unknown): CliError {
  return new CliError({ code: 'MEMBER_CHANGE_INVALID', expected }, { cause })
}
