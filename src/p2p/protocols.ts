/** Every string that names something on the wire between peers. A change of meaning gets a new number at the end. */

/** Bulk blocks over one direct stream; docs/spec/block-exchange.md. */
export const BLOCKS_PROTOCOL = '/apotheca/blocks/1'
/** A signed transaction, handed to a validator; docs/spec/request.md. */
export const TX_PROTOCOL = '/apotheca/tx/1'
/** Final headers and bodies from a height on; docs/spec/request.md. */
export const SYNC_PROTOCOL = '/apotheca/sync/1'
/** Last headers of epochs, pieces of the state, headers without bodies; docs/spec/sync.md. */
export const SNAPSHOT_PROTOCOL = '/apotheca/snapshot/1'
/** Leaves of shards, asked for in an audit; docs/spec/audit-request.md. */
export const AUDIT_PROTOCOL = '/apotheca/audit/1'
/** Votes and proposals between validators, one long-lived stream each way; docs/spec/consensus-stream.md. */
export const CONSENSUS_PROTOCOL = '/apotheca/consensus/1'

/** A column of an extent, pushed to who is to hold it; docs/spec/shard-push.md. */
export const SHARDS_PROTOCOL = '/apotheca/shards/1'

/** Gossip topic of final headers; docs/spec/header-gossip.md. */
export function headersTopic(chain: string): string {
  return `/apotheca/${chain}/headers/1`
}
