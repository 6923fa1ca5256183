/** Every bound in one place, each with its reason. Units last in names. */

/** The largest canonical structure is a block body: 1 MiB of transactions and its certificates. */
export const CBOR_BYTES_MAX = 2 * 1024 * 1024
/** Deep enough for every structure of docs/spec; shallow enough that no decoder recurses far. */
export const CBOR_DEPTH_MAX = 16
/** A full block: 2,000 transactions of about 40 items; keeps decoding under a tenth of a second. */
export const CBOR_ITEMS_MAX = 262_144

/** Ciphertext segment of a sealed stream, and the leaf of its UnixFS tree: Tink's AES256_GCM_HKDF_1MB. */
export const SEGMENT_BYTES = 1024 * 1024
/** Tink counts segments in 32 bits, but a UnixFS tree of 2^22 leaves (4 TiB) is already four levels; nobody needs more in one file. */
export const SEGMENTS_MAX = 2 ** 22
/** Any block that travels or is stored: bitswap implementations refuse more than 2 MiB. */
export const BLOCK_BYTES_MAX = 2 * 1024 * 1024

/** Children of one UnixFS node: profile unixfs-v1-2025; a node is then about 50 KiB. */
export const TREE_CHILDREN = 1_024
/** Files of one folder: each is an upload until the folder is whole. */
export const LISTING_FILES_MAX = 65_536
/** Entries of one listing page: well under `CBOR_BYTES_MAX` with paths of usual length. */
export const LISTING_PAGE_ENTRIES = 256
/** A listing of so many files with the longest paths. */
export const LISTING_BYTES_MAX = 80 * 1024 * 1024
/** A path in a listing, in UTF-8: what common file systems take. */
export const PATH_BYTES_MAX = 1_024
/** Accounts that one manifest wraps its key to; others are granted on the ledger. */
export const MANIFEST_KEYS_MAX = 16
/** Extents of one object: 1 GiB each, so 4 TiB. */
export const EXTENTS_MAX = 4_096
/** Data segments of one extent: 1 GiB, so that what a peer holds is counted in thousands of columns and not in millions. */
export const EXTENT_SEGMENTS = 1_024
/** Columns of an extent: 15 in the widest code; f + 1 copies of critical data among 100 institutions are 34. */
export const COLUMNS_MAX = 64
/** Blocks that all holders of an extent keep whole: tree nodes of 1,024 segments with names, manifest, pages of directories. */
export const EXTENT_COPIES_MAX = 4_096
/** An extent map: 1,024 segments with up to 34 copies are the largest, some 70 bytes for each shard. */
export const EXTENT_MAP_BYTES_MAX = 2 * 1024 * 1024
/** Placement groups up to 40 storage peers: each is in 100 of them and more, so that a lost one is rebuilt by all others. */
export const PLACEMENT_GROUPS_FEW = 1_024
/** Placement groups above 40 storage peers; a power of two, so that fewer groups are a part of the same number. */
export const PLACEMENT_GROUPS_MAX = 4_096
/** Storage peers up to which a table has `PLACEMENT_GROUPS_FEW` rows. */
export const PLACEMENT_FEW_PEERS_MAX = 40
/** Columns of the widest code, 10+5. */
export const PLACEMENT_COLUMNS_MAX = 15
/** Storage peers that ever offered room: their numbers have two bytes, the highest of which means nobody. */
export const STORAGE_PEERS_MAX = 65_535
/** Parameters of storage that a genesis may set: least, default, most. Short times are for tests; long ones stay within what people plan. */
export const STORAGE_PARAMS = {
  /** Between two audits: an hour finds a peer that lost its data within a day, and costs a peer 64 reads. */
  auditMs: { min: 1_000, default: 60 * 60 * 1_000, max: 7 * 24 * 60 * 60 * 1_000 },
  /** Block time for which what nobody keeps any more stays nevertheless: a week finds most mistakes. */
  orphanMs: { min: 1_000, default: 7 * 24 * 60 * 60 * 1_000, max: 366 * 24 * 60 * 60 * 1_000 },
  /** How long an object is kept that no record names, unless its storer says otherwise. */
  leaseMs: { min: 1_000, default: 365 * 24 * 60 * 60 * 1_000, max: 100 * 366 * 24 * 60 * 60 * 1_000 },
  /** The longest lease: records keep what must be kept for longer. */
  leaseMaxMs: { min: 1_000, default: 10 * 366 * 24 * 60 * 60 * 1_000, max: 100 * 366 * 24 * 60 * 60 * 1_000 },
  /** MiB that an institution may fill with leases of `leaseMs` at once, and keep renewed: 64 TiB. All its MiB-hours are below 2^53. */
  quotaMib: { min: 1, default: 64 * 2 ** 20, max: 2 ** 32 },
  /** Least time between two placement tables: each makes peers move data. */
  layoutMs: { min: 0, default: 60_000, max: 24 * 60 * 60 * 1_000 },
  /** A peer that is silent for less is not repaired around, unless an extent is near its end. */
  silentMs: { min: 1_000, default: 24 * 60 * 60 * 1_000, max: 90 * 24 * 60 * 60 * 1_000 },
} as const
/** Storage peers of one institution that are active or give up what they have: its peers, and three times as many that they replaced. */
export const STORAGE_INSTITUTION_PEERS_MAX = 64
/** Groups of a placement table in one entry of the state: 64 of 15 columns are 2 kB, so reading a row costs little. */
export const LAYOUT_PAGE_GROUPS = 64
/** Rows of a table in one transaction, in bytes: leaves 4 KiB of `TX_LARGE_BYTES_MAX` for the envelope. */
export const LAYOUT_PART_BYTES = 60 * 1024
/** The largest table, 4,096 groups of 15 columns, is two parts. */
export const LAYOUT_PARTS_MAX = 2
/** Rows that are looked through for columns that the group's own row doesn't have: critical data among 100 institutions needs three. */
export const ASSIGNED_ROWS_MAX = 64
/** Extents of one commit: 240 receipts, 25 ms of signatures for every peer. */
export const COMMIT_EXTENTS_MAX = 16
/** Data that may lie as full copies: consent, prescriptions, emergency sets. */
export const CRITICAL_BYTES_MAX = 64 * 1024
/** Columns confirmed, given up or erased in one transaction: 256 signatures are as many as a commit has. */
export const COLUMNS_AT_ONCE_MAX = 256
/** Extents that one transaction forgets: three entries of the state each. */
export const FORGET_EXTENTS_MAX = 256
/** Record versions that one request for erasure may name: every version of a usual record. */
export const ERASE_RECORDS_MAX = 64
/** Leaf of an audit tree: with its path it fits a transaction; smaller ones cost more to hash than the bytes themselves. */
export const AUDIT_LEAF_BYTES = 16 * 1024
/** Data shards of one stripe: the widest code of the placement table; a rebuild reads as many MiB. */
export const ERASURE_DATA_MAX = 10
/** Parity shards of one stripe, in the table and for shortened stripes; the kernel has registers for so many sums. */
export const ERASURE_PARITY_MAX = 5
/** Of each shard in WebAssembly memory at once: fifteen of them fit a second-level cache of 512 KiB twice. */
export const ERASURE_CHUNK_BYTES = 16 * 1024
/** Blocks of one graph that is walked, exported or imported: 1 TiB in leaves of 1 MiB; remembering them takes 100 MB at most. */
export const DAG_BLOCKS_MAX = 2 ** 20
/** Links found and not yet followed: the largest block of links has 50,000, a folder's tree some thousands. */
export const DAG_PENDING_LINKS_MAX = 2 ** 18
/** Roots of one CAR: most have one; each is a graph that is walked. */
export const CAR_ROOTS_MAX = 16
/** Blocks of a CAR written and synced together, in bytes and by number: amortizes the fsync, bounds the memory. */
export const CAR_BATCH_BYTES = 8 * SEGMENT_BYTES
export const CAR_BATCH_BLOCKS = 1_024
/** CARs that a peer takes in at a time: each holds a batch, and the list of its blocks. */
export const CAR_IMPORTS_MAX = 4
/** The longest path in an audit tree or in that of an extent: 65,536 shards of 34 copies have 16 levels. */
export const AUDIT_PATH_MAX = 16
/** Institutions that judge one peer in one audit: three liars of five must be drawn together before an honest peer has to appeal. */
export const AUDIT_COMMITTEE = 5
/** Verdicts of one institution in one transaction: on average it judges five peers; thousands where there are few institutions. */
export const AUDIT_VERDICTS_MAX = 1_024
/** Leaves asked for in one audit of one peer: a peer that lost a twentieth of its bytes is found with 96 %. */
export const AUDIT_SAMPLES = 64
/** Leaves of one question: eight shards of 1 MiB are read for it. */
export const AUDIT_ASKED_MAX = 8
/** A question: eight names of leaves. */
export const AUDIT_QUESTION_BYTES_MAX = 2 * 1024
/** Its answer: eight leaves with their paths. */
export const AUDIT_ANSWER_BYTES_MAX = 160 * 1024
/** A peer that doesn't answer is asked again: lines break. */
export const AUDIT_ASK_TRIES = 3
/** Between one institution's turn to open a round and the next one's: a block comes within that. */
export const AUDIT_OPEN_STEP_MS_MAX = 10_000
/** Committees ask within this part of the epoch, so that their verdicts come in time; */
export const AUDIT_SPREAD_DIVISOR = 4
/** and within this time: a round shall not drag on. */
export const AUDIT_SPREAD_MS_MAX = 20 * 60 * 1_000
/** Leaves that one appeal shows: three with their paths fit a transaction. */
export const AUDIT_APPEAL_LEAVES_MAX = 3
/** Segments read ahead from the disk while earlier ones are on their way out. */
export const READ_AHEAD_SEGMENTS = 4
/** Buffers of 1 MiB kept for the next local reads: two readers' segments ahead, and what is on its way out. */
export const LOCAL_BUFFERS_KEPT = 12
/** Segments written and synced together during an upload: amortizes the fsync, bounds what a crash can lose. */
export const UPLOAD_BATCH_SEGMENTS = 8
/** Received and not yet durable bytes of one upload: two batches, one filling while the other is written. */
export const UPLOAD_IN_FLIGHT_BYTES = 2 * UPLOAD_BATCH_SEGMENTS * SEGMENT_BYTES

/** A transaction: two X-Wing wrapped keys or one public key, with room; 30 of them fill a block. */
export const TX_BYTES_MAX = 32 * 1024
/** Transactions that carry extents or evidence: 1,024 receipts of a placement group don't fit in less. */
export const TX_LARGE_BYTES_MAX = 64 * 1024
/** The account, and whoever must sign beside it; every signature costs every peer 0.1 ms. */
export const TX_SIGNATURES_MAX = 4
/** How far ahead of block time a transaction may expire: the mempool must not hold promises for longer. */
export const TX_LIFETIME_MS_MAX = 24 * 60 * 60 * 1_000
/** Compare-and-set conditions of one transaction: each is one read of the state. */
export const TX_PRECONDITIONS_MAX = 16
/** Transactions of one block, in bytes: travels in a tenth of a second on 100 Mbit/s. */
export const BLOCK_TX_BYTES_MAX = 1024 * 1024
/** Transactions of one block, by number: 0.2 s of signature checks on one core. */
export const BLOCK_TXS_MAX = 2_000
/** However slow the machine, a block takes so many: below that, what a block costs by itself outweighs them. */
export const BLOCK_PACED_TXS_MIN = 32
/**
 * Blocks that are executed and not final. In good times there are two or three; views grow to 60 s without finality, so this many
 * are hours of a network that notarizes and never finalizes.
 */
export const PENDING_BLOCKS_MAX = 256
/** On so many blocks that aren't final, a proposer puts no transactions: bounds the memory they take to about 32 MiB. */
export const PENDING_FULL_BLOCKS_MAX = 32
/** Transactions a second of one institution, sustained: three times what the whole network must carry on small machines. */
export const TX_QUOTA_PER_SECOND = 1_000
/** Transactions that an institution may have saved up: a ward that was offline for a night comes back at once. */
export const TX_QUOTA_BURST = 10_000
/** The part of that which only lane 0 may take: evidence, membership and revocation find room after a flood. */
export const TX_QUOTA_URGENT = 1_000
/** Signatures known to be good of transactions that don't wait here, such as those of blocks being caught up with: four full blocks. */
export const VERIFIED_SIGNATURES_MAX = 8_192
/** Views without a block between a block and its parent; at the longest view (60 s) this is almost three days of failed views. */
export const BLOCK_NULLIFY_CERTIFICATES_MAX = 4_096
/** How far a block's time may be ahead of the wall clock: clocks kept by NTP differ by far less. */
export const BLOCK_TIME_AHEAD_MS_MAX = 2_000
/** Blocks of an epoch: at one block a second, validators can change every quarter of an hour. */
export const EPOCH_BLOCKS = 1_000
/** Epochs whose validators stay in the state, so that evidence of them can be judged: two days at full speed, months of idling. */
export const EPOCH_SETS_KEPT = 1_024
/** Changes of validators in one proposal: a reorganization; the people who approve must be able to read it. */
export const MEMBERSHIP_CHANGES_MAX = 16
/** Approved changes that wait for the end of an epoch. */
export const MEMBERSHIP_QUEUE_MAX = 64
/** How long a proposal may wait for approvals: keys kept offline and boards that meet monthly. */
export const MEMBERSHIP_PERIOD_MS_MAX = 60 * 24 * 60 * 60 * 1_000
/** Validators: one for each institution of the largest consortium. */
export const VALIDATORS_MAX = 100
/** Institutions of one genesis; others join later. */
export const INSTITUTIONS_MAX = 100
/** Peers of one institution: a few sites with a few machines each. */
export const INSTITUTION_PEERS_MAX = 16
/** Storage peers of one layout: every peer of every institution; an index has 16 bits. */
export const PLACEMENT_PEERS_MAX = INSTITUTIONS_MAX * INSTITUTION_PEERS_MAX
/** A header that names 100 next validators. */
export const HEADER_BYTES_MAX = 16 * 1024
/** A certificate of 67 signatures, with room. */
export const CERTIFICATE_BYTES_MAX = 8 * 1024
/** A header, its certificate, and the frame around them. */
export const FINAL_HEADER_BYTES_MAX = HEADER_BYTES_MAX + CERTIFICATE_BYTES_MAX + 64
/** 100 institutions, each with an X-Wing key and 16 peers. */
export const GENESIS_BYTES_MAX = 512 * 1024
/** Fields of a fault in a receipt, and the length of its texts: a receipt stays under 2 KiB whatever the payload said. */
export const RECEIPT_FAULT_FIELDS_MAX = 8
export const RECEIPT_FAULT_TEXT_MAX = 128
/** A state key: a few hashes and a number. */
export const STATE_KEY_BYTES_MAX = 256
/** Pages of the state tree kept in memory: those of the first four levels, which every block reads, and their last versions; 13 MB. */
export const STATE_PAGES_CACHED_MAX = 8_192
/** Nibbles that lead to such a page: 4,369 pages; the level below would be 65,536. */
export const STATE_PAGE_CACHED_NIBBLES = 3
/** Values of the state kept decoded: those of a thousand accounts that act, at 1.5 kB each with X-Wing keys, and their turns. */
export const STATE_VALUES_CACHED_MAX = 2_048
/** Keys deleted or moved in one batch of pruning, and one block's beyond it: some ten milliseconds of the disk. */
export const STATE_PRUNE_KEYS = 8_192
/** Entries of one batch when the tree is made of the flat state: some megabytes of memory. */
export const TREE_FILL_ENTRIES = 4_096
/** What a chunk of a snapshot aims at: small enough to ask another peer for, large enough that proofs don't matter. */
export const SNAPSHOT_CHUNK_BYTES = 1024 * 1024
/** A chunk with one entry beyond that; what a transaction wrote is smaller by far. */
export const SNAPSHOT_CHUNK_BYTES_MAX = 2 * 1024 * 1024
/** Entries of one chunk: the smallest have about 50 bytes. */
export const SNAPSHOT_CHUNK_ENTRIES_MAX = 32_768
/** Bytes of all transactions that wait; a minute of full blocks. */
export const MEMPOOL_BYTES_MAX = 64 * 1024 * 1024
/** Transactions that wait: bounds the memory beside the bytes. */
export const MEMPOOL_TXS_MAX = 100_000
/** One institution's part of the waiting bytes: one that floods doesn't shut the others out. */
export const MEMPOOL_INSTITUTION_DIVISOR = 8
/** Slice of an institution's part for lane 0 alone: a flood of records leaves room for revocations and evidence; 1 MiB. */
export const MEMPOOL_URGENT_DIVISOR = 8
/** What stands behind a gap leaves by so much of an institution's part at once, 128 KiB: hundreds of small ones come before it is looked for again. */
export const MEMPOOL_EVICTED_DIVISOR = 64
/** How far ahead of its turn a transaction may wait: a client that sends in parallel, not one that leaves gaps. */
export const MEMPOOL_SEQ_AHEAD_MAX = 1_024
/** The longest consent: ten years; it can be given again. */
export const CONSENT_PERIOD_MS_MAX = 10 * 366 * 24 * 60 * 60 * 1_000
/** Versions of one record: a device that amends every minute for ten years doesn't reach it. */
export const RECORD_VERSIONS_MAX = 2 ** 24
/** Keys in the history of an account: two rotations a year for a long life. */
export const ACCOUNT_KEYS_MAX = 200
/** Levels of a stored object's tree: two of directories and four of file nodes, with room to spare. */
export const OBJECT_WALK_DEPTH_MAX = 8

/** Bytes given to a cipher at once: its result of this size comes back from node's allocator hot, one of 1 MiB comes cold. */
export const AEAD_UPDATE_BYTES = 64 * 1024
/** Imported public keys that a process remembers: every account that is active within minutes, at 1 kB each. */
export const ED25519_KEYS_CACHED_MAX = 4_096
/** Signatures of one call verified at once: leaves two of libuv's four threads to the disk. */
export const VERIFICATIONS_AT_ONCE = 2
/** So few are verified at once without another thread: one millisecond. */
export const VERIFICATIONS_HERE_MAX = 8
/** WebCrypto's own bound on one call of getRandomValues. */
export const RANDOM_FILL_BYTES_MAX = 65_536
/** Keys of one keystore: a person has three, an institution about ten, each kept through a few rotations. */
export const KEYSTORE_KEYS_MAX = 64
/** A keystore of that many X-Wing keys is 125 kB of JSON. */
export const KEYSTORE_BYTES_MAX = 256 * 1024
/** Below this the passphrase hash is no hurdle to anyone with a graphics card. */
export const KEYSTORE_MEMORY_KIB_MIN = 8 * 1024
/** A file may not make its reader allocate more than this: 1 GiB. */
export const KEYSTORE_MEMORY_KIB_MAX = 1024 * 1024
/** Passes over the memory: at the maximum of both, opening takes about half a minute, not hours. */
export const KEYSTORE_PASSES_MAX = 16
/** Lanes: more than any machine of a clinic has cores. */
export const KEYSTORE_LANES_MAX = 16
/** Objects listed by one request. */
export const OBJECTS_LISTED_MAX = 1_000
/** HTTP requests a minute from one address: a folder of small files sends about 100 a second. */
export const API_REQUESTS_PER_MINUTE = 30_000
/** A connection that sends nothing for so long is closed; TCP may be slow, hospitals' lines break off. */
export const HTTP_IDLE_TIMEOUT_MS = 120_000
/** Request headers are a few hundred bytes. */
export const HTTP_HEADERS_TIMEOUT_MS = 10_000
/** What the CLI reads of a long answer at a time: fits a processor's cache, and spares calls of the system. */
export const HTTP_BODY_READ_BYTES = 256 * 1024
/** Status and headers of an answer are a few hundred bytes. */
export const HTTP_HEAD_BYTES_MAX = 16 * 1024
/** An answer of the HTTP API that is read whole: the largest are lists of a thousand entries with wrapped keys of 1.2 kB. */
export const API_ANSWER_BYTES_MAX = 16 * 1024 * 1024
/** Connections of one CLI to its peer. */
export const API_CONNECTIONS_MAX = 8

/** 100 institutions with a handful of peers each, and a second connection where two dialed each other at once. */
export const P2P_CONNECTIONS_MAX = 1_000
/** Handshakes in progress: each holds a TLS state and two timers; a whole consortium that restarts fits in a second. */
export const P2P_PENDING_INBOUND_MAX = 64
/** New connections a second from one address: all peers of one site may stand behind one. */
export const P2P_INBOUND_PER_SECOND_MAX = 64
/** Streams of one connection and direction: bitswap opens one per message; a flood beyond that is reset. */
export const P2P_STREAMS_PER_CONNECTION_MAX = 512
/** What one stream may have in flight: 80 MB/s at 50 ms; libp2p resets a paused stream that holds more than it may. */
export const P2P_STREAM_WINDOW_BYTES_MAX = 4 * 1024 * 1024
/** What a connection reads at a time: one TLS record. Each connection holds so much. */
export const P2P_READ_BYTES = 16 * 1024
/** The same while bytes come faster: fewer pieces to look at, and still in the processor's cache. */
export const P2P_READ_BYTES_BUSY = 128 * 1024
/** A paused reader holds one window and the frame that was under way. */
export const P2P_STREAM_READ_BUFFER_BYTES_MAX = 2 * P2P_STREAM_WINDOW_BYTES_MAX
/** Each connection is probed this often: with the timeout below, a silent peer is dropped within 13 s. */
export const P2P_PING_INTERVAL_MS = 3_000
/** A probe waits for a busy machine and behind a slow line's bulk data; less drops peers that are only busy. */
export const P2P_PING_TIMEOUT_MS = 10_000
/** A dial includes DNS, TCP and a handshake; on a WAN under 1 s. */
export const P2P_DIAL_TIMEOUT_MS = 5_000
/** First pause before dialing again: a restarted daemon listens within 2 s. */
export const P2P_REDIAL_MS_MIN = 500
/** Longest pause between two dials of a member: a ledger whose network was cut should go on within seconds of its mending. */
export const P2P_REDIAL_MS_MAX = 5_000
/** A connection that ends earlier was refused by the other side: it doesn't reset the pause. */
export const P2P_SETTLED_MS = 3_000
/** Refused strangers are counted; the log gets one line in this time, however many knock. */
export const P2P_STRANGER_LOG_INTERVAL_MS = 60_000

/** One gossipsub RPC: a batch of headers and control messages. */
export const GOSSIP_RPC_BYTES_MAX = 256 * 1024
/** Verdicts on gossiped headers kept by hash, so that a copy from each neighbour costs a hash and no signature check. */
export const GOSSIP_VERDICTS_MAX = 512
/** A header ignored because we lag may be judged again after this. */
export const GOSSIP_IGNORED_MS = 1_000

/** Blocks a fetch may have asked for and not yet handed on: hides 40 ms at 400 MB/s; bounds the reader's memory. */
export const BLOCK_WINDOW_BYTES = 12 * SEGMENT_BYTES
/** Wants a server queues for one stream, 33 bytes each; more is a broken or hostile peer, and its stream is reset. */
export const BLOCK_WANTS_QUEUED_MAX = 256
/** Blocks read ahead of the one being written, per stream: disk and network overlap with two. */
export const BLOCK_READ_AHEAD = 2
/** Blocks in a server's memory over all streams: 64 MiB at the largest block. */
export const BLOCK_SERVER_BLOCKS_MAX = 32
/** The same for one reader, whatever connections and streams it has: a quarter. Two are read ahead for each of four streams. */
export const BLOCK_PEER_BLOCKS_MAX = BLOCK_SERVER_BLOCKS_MAX / 4
/** Blocks sent and not yet confirmed whose buffers a server remembers, per reader; beyond it they are left to the collector. */
export const BLOCK_UNCONFIRMED_MAX = 64
/** Buffers of 1 MiB kept for the next blocks while a transfer runs: a window, what is read ahead, and what is being handed on. */
export const BLOCK_BUFFERS_KEPT = 24
/** Smaller blocks aren't worth a buffer of 1 MiB. */
export const BLOCK_POOLED_BYTES_MIN = 64 * 1024
/** Block streams of one connection: fetches that one reader has under way. */
export const BLOCK_STREAMS_PER_CONNECTION_MAX = 8
/** Block streams of one reader: those of two connections, where two peers dialed each other at once. */
export const BLOCK_PEER_STREAMS_MAX = 2 * BLOCK_STREAMS_PER_CONNECTION_MAX
/** A reader that takes not one byte for so long loses its stream, and the memory behind it is freed. */
export const BLOCK_SERVER_STALL_MS = 30_000
/** One answer, so that a byte now and then ends too: the largest block at 17 kB/s. */
export const BLOCK_SERVER_SEND_MS_MAX = 120_000
/** A provider silent for this long with wants outstanding is hedged by another; well under the promised 2 s. */
export const BLOCK_PROVIDER_SILENT_MS = 1_000
/** A provider silent for this long is given up, even when it's the only one. */
export const BLOCK_PROVIDER_LOST_MS = 15_000
/** The oldest wanted block of a slow provider is asked of an idle one after this. */
export const BLOCK_SLOW_MS = 500
/** Shards of one read that are asked for and not handed on: two stripes of the widest code. */
export const EXTENT_WINDOW_BYTES = 20 * SEGMENT_BYTES
/** How long a holder is waited for at least before others are asked for a shard: a pause of a busy machine. */
export const HEDGE_MS_MIN = 200
/** The same at most: holders that stop together are found out in two such pauses, within the promised 2 s. */
export const HEDGE_MS_MAX = 600
/** The same for a holder that was never asked. */
export const HEDGE_MS_FIRST = 400
/** How often late holders are looked for. */
export const HEDGE_TICK_MS = 50
/** A tick that comes so much later means that this process was busy, and nobody else late. */
export const HEDGE_TICK_LATE_MS = 250
/** A holder that was late, and gave nothing since, is asked last for so long. */
export const HOLDER_LATE_MS = 10_000
/** When too few holders are left, those that went away are waited for so long: a network that blinked dials again within that. */
export const HOLDERS_RETURN_MS = P2P_REDIAL_MS_MAX
/** How often they are asked again meanwhile. */
export const HOLDERS_RETRY_MS = 250
/** Blocks of a peer that its pace is taken from: the last seconds of a transfer. */
export const PEER_PACE_SAMPLES = 64
/** A bitswap session waits so long to hear who holds a block: the ledger is here, an extent map a round trip away. */
export const HOLDERS_TIMEOUT_MS = 10_000
/** Leaves of a file that are read together: one inner node's. */
export const LEAF_RUN_MAX = 1_024
/** Extent maps in memory, as encoded: some 500 GiB of objects that were read last. */
export const EXTENT_MAPS_BYTES_KEPT = 64 * 1024 * 1024
/** Objects that were opened last, where a leaf is looked for that nothing else says the place of. */
export const OBJECTS_OPEN_MAX = 64
/** Extent maps fetched to find one block: those of a folder of 256 GiB. */
export const EXTENT_MAPS_SEARCHED_MAX = 256
/** "Who has this block?" waits this long for the last answer. */
export const BLOCK_HAVE_TIMEOUT_MS = 2_000
/** After the first "I have it", others get this long to join the list. */
export const BLOCK_HAVE_GRACE_MS = 50

/** A request to take a column of an extent: its map, where it is known, and some numbers. */
export const SHARD_RESERVE_BYTES_MAX = EXTENT_MAP_BYTES_MAX + 4 * 1024
/** Answers of a holder: a bit for each shard and copy, or a fault. */
export const SHARD_ANSWER_BYTES_MAX = 8 * 1024
/** Columns that are pushed over one connection at once: extents of a few objects. */
export const SHARD_STREAMS_PER_CONNECTION_MAX = 16
/** Columns that a holder receives at once from everybody; the others are told to come again. */
export const SHARD_STREAMS_MAX = 64
/** The same from one sender, whatever connections it has: a quarter. An honest one has an extent of each object that it places. */
export const SHARD_PEER_STREAMS_MAX = SHARD_STREAMS_MAX / 4
/** Received for one column and not yet durable: three shards, so that the disk has one while the next is checked. */
export const SHARD_STREAM_BYTES_HELD = 3 * SEGMENT_BYTES
/** The same over all columns; beyond it all of them wait. */
export const SHARD_BYTES_HELD_MAX = 48 * SEGMENT_BYTES
/** The same from one sender: a quarter, so that four columns come in from it at full speed. */
export const SHARD_PEER_BYTES_HELD_MAX = SHARD_BYTES_HELD_MAX / 4
/** What a frame counts besides its bytes: many small ones cost more than they hold. */
export const SHARD_FRAME_COST_BYTES = 512
/** A sender that says nothing for so long, or sends one frame for so long, loses its stream: less than it waits itself for a slow holder of another column would be wrong. */
export const SHARD_SENDER_SILENT_MS = 60_000
/** A holder answers a reservation within this, or is passed over. */
export const SHARD_RESERVE_TIMEOUT_MS = 10_000
/** A holder that stores nothing for so long, while others do, loses its column: repair brings it there later. */
export const SHARD_STALL_MS = 10_000
/** A holder checks the map and signs within this: it has everything by then. */
export const SHARD_FINISH_TIMEOUT_MS = 30_000
/** A receipt that holds for less is of no use: the commit must become final before. */
export const SHARD_EXPIRY_MS_MIN = 60_000
/** The longest that a column is kept without the ledger naming it; a day in which the ledger may stand still. */
export const SHARD_EXPIRY_MS_MAX = 24 * 60 * 60 * 1_000
/** Columns that one peer keeps staged: a day of a thousand objects an hour. Each is a record of 200 bytes, held in memory. */
export const STAGED_COLUMNS_MAX = 65_536
/** The same from one institution: a quarter. */
export const STAGED_COLUMNS_OF_ONE_MAX = STAGED_COLUMNS_MAX / 4
/** The part of a store that columns of one institution may fill before the ledger names them: its quota there says the rest. */
export const STAGED_BYTES_OF_ONE_RATIO = 0.25
/** That part is no less than this: what two objects that are placed at once bring at the most, twice. */
export const STAGED_BYTES_OF_ONE_MIN = 4 * EXTENT_SEGMENTS * SEGMENT_BYTES
/** What was begun and never finished counts for so long: by default, blocks that nobody names are removed after a week. */
export const STAGED_UNFINISHED_MS = 8 * 24 * 60 * 60 * 1_000
/** Beyond its expiry a staged column is kept for so long: a commit that was final just before is known by then. */
export const STAGED_GRACE_MS = 60 * 60 * 1_000
/** How often the collector looks whether it is time, beside every block: it must also let go of what it remembers on a chain that stands still. */
export const COLLECT_CHECK_MS = 10 * 60 * 1_000
/** Block time between two rounds of collection, at most: a round reads the extent maps of all that is held, seconds for a terabyte. */
export const COLLECT_ROUND_MS_MAX = 60 * 60 * 1_000
/** Block time after which an erasure is taken up again that something unfinished stood in the way of. */
export const COLLECT_AGAIN_MS = 5_000
/** Rounds within `orphanMs`, at least: what is collected then waits an eighth longer than it must. */
export const COLLECT_ROUNDS = 8
/** Blocks that were written or relied on so lately are no candidates, of time of this process: whoever did says by then what they belong to. */
export const COLLECT_FRESH_MS = 60 * 60 * 1_000
/** Blocks between two pauses: a few milliseconds. */
export const COLLECT_SLICE_BLOCKS = 512
/** Objects that one round takes off the ledger, so that it ends within minutes. */
export const COLLECT_FORGETS_MAX = 16
/** Lines of a collection report, of 200 bytes. */
export const COLLECT_LINES_MAX = 1_000
/** Above this part of what the store takes, copies of what lies whole on its holders go first. */
export const COLLECT_CACHE_RATIO = 0.9
/** What users keep on one peer: each is walked in every round. */
export const PINS_MAX = 65_536

/** So long a daemon waits for a transaction of its own; in good times it takes a second. */
export const INSTITUTION_TX_WAIT_MS = 60_000
/** Turns that are tried for one transaction: those before may wait for a block though this daemon, started anew, doesn't know. */
export const TX_SUBMIT_TRIES = 64
/** First pause before an offer that no validator took is made again: a daemon connects to the others within that. */
export const OFFER_RETRY_MS_MIN = 250
/** Longest such pause: a validator that came back is found within that. */
export const OFFER_RETRY_MS_MAX = 2_000
/** How often a peer looks whether its offer still stands on the ledger. */
export const OFFER_CHECK_MS = 10_000
/** Less room than this is not offered: a column of one extent may have half of it. */
export const OFFER_BYTES_MIN = 64 * SEGMENT_BYTES
/** An offer is renewed when the room differs by more than this part: a smaller change moves no data worth its cost. */
export const OFFER_CHANGE_RATIO = 0.05
/** So long the storage peers must have stayed the same before a table is planned for them: those of a new network come within seconds. */
export const LAYOUT_SETTLE_MS = 5_000
/** Each active storage peer waits so much longer than the one before it: one of them submits, the others see that it is done. */
export const LAYOUT_TURN_MS = 3_000
/** After a refusal the layout is looked at again no sooner. */
export const LAYOUT_RETRY_MS = 10_000
/** Objects that are placed at once: one fills the line, a second one hides the round trips of small ones. */
export const PLACEMENTS_AT_ONCE = 2
/** Shards that are read, coded and on their way for one extent: hides a round trip and a sync of the disk; bounds the memory. */
export const PUSH_WINDOW_BYTES = 48 * SEGMENT_BYTES
/** First pause before an object that could not be placed is tried again. */
export const PLACEMENT_RETRY_MS_MIN = 250
/** Longest such pause: a peer that came back is used within that. */
export const PLACEMENT_RETRY_MS_MAX = 60_000
/** How long receipts of a placement hold, in block time: the longest that a commit may take. */
export const PLACEMENT_RECEIPT_MS = 6 * 60 * 60 * 1_000
/** Buffers of 1 MiB kept while objects are placed: a window of each. */
export const PLACEMENT_BUFFERS_KEPT = (PLACEMENTS_AT_ONCE * PUSH_WINDOW_BYTES) / SEGMENT_BYTES
/** Extents in one commit, in bytes: leaves room for the envelope in `TX_LARGE_BYTES_MAX`. */
export const COMMIT_BYTES = 56 * 1024
/** The CLI asks how far a placement is after this, then ever less often. */
export const PLACEMENT_POLL_MS_MIN = 25
export const PLACEMENT_POLL_MS_MAX = 500
/** Placed objects whose figures a peer remembers: those that someone may still be waiting for at a prompt. */
export const PLACEMENTS_FINISHED_KEPT = 256
/** Objects that wait to be placed: a week of a large institution whose network is down. */
export const PLACEMENTS_MAX = 262_144

/** Columns that one peer repairs at once: small ones hide each other's round trips and syncs of the disk. */
export const REPAIR_COLUMNS_AT_ONCE = 4
/** Shards under way for one of them, with all that rebuilding takes: a stripe of the widest code, as one always is. */
export const REPAIR_WINDOW_BYTES = 8 * SEGMENT_BYTES
/** What repair may take from the network at once after a pause, beyond its rate: a window of each column. */
export const REPAIR_BURST_BYTES = REPAIR_COLUMNS_AT_ONCE * REPAIR_WINDOW_BYTES
/** Columns listed for repair, the most endangered: some 10 MiB. The others are found again when these are done. */
export const REPAIR_QUEUE_MAX = 16_384
/** How often the store is asked whether it found damage. */
export const REPAIR_CHECK_MS = 5_000
/** All of the ledger is looked through at least so often, though no block gave reason to: blocks behind a snapshot give none. */
export const REPAIR_LOOK_MS = 10 * 60 * 1_000
/** Whether all own blocks are here is looked up so often, without reading them. */
export const REPAIR_OWN_CHECK_MS = 24 * 60 * 60 * 1_000
/** The same while damage is known. */
export const REPAIR_RECHECK_MS = 60_000
/** A look through the ledger that took long comes again no sooner than so many times that. */
export const REPAIR_RECHECK_RATIO = 20
/** A damaged column that isn't mended within this is given up on the ledger: a few minutes, in which most are mended. */
export const REPAIR_LOST_AFTER_MS = 3 * 60 * 1_000
/** First pause before a column that could not be repaired is tried again. */
export const REPAIR_RETRY_MS_MIN = 500
/** Longest such pause: a holder that came back is used within that. */
export const REPAIR_RETRY_MS_MAX = 60_000
/** Failures after which a column comes behind those that haven't failed so often: minutes, with their pauses. */
export const REPAIR_TRIES_FRESH = 8
/** How long receipts of repaired columns hold, in block time: the longest that a confirmation may take. */
export const REPAIR_RECEIPT_MS = 6 * 60 * 60 * 1_000
/** A damaged block that no member had is asked for again after this. */
export const REPAIR_STRAY_RETRY_MS = 10 * 60 * 1_000

/** Waiting for one validator, in bytes: two of the largest messages and the votes around them. The oldest go first. */
export const CONSENSUS_QUEUE_BYTES_MAX = 8 * 1024 * 1024
/** The same by number: votes and certificates of more views than anyone sends again at once. */
export const CONSENSUS_QUEUE_MESSAGES_MAX = 1_024
/** Small messages that leave together in one record of the transport; more gains nothing, and copies. */
export const CONSENSUS_WRITE_BYTES = 64 * 1024
/** Consensus streams of one connection: the one in use, and one that replaces it before the old one's end was noticed. */
export const CONSENSUS_STREAMS_PER_CONNECTION_MAX = 4
/** A validator that takes not one byte for so long loses its stream; its connection is dropped soon after by the probes. */
export const CONSENSUS_STREAM_STALL_MS = 10_000
/** Opening a stream is one round trip. */
export const CONSENSUS_OPEN_TIMEOUT_MS = 5_000
/** First pause before a stream is opened again: a daemon registers its protocols within this after it listens. */
export const CONSENSUS_REOPEN_MS_MIN = 50
/** Longest pause before a stream is opened again: a peer that became a validator waits no longer. */
export const CONSENSUS_REOPEN_MS_MAX = 2_000
/** One-shot requests served at a time for one connection. */
export const REQUEST_STREAMS_PER_CONNECTION_MAX = 16
/** Default time for a whole request and its answer. */
export const REQUEST_TIMEOUT_MS = 10_000
/** Sealed segments between the sealer and the socket. */
export const UPLOAD_BUFFERS = 8
/** Tries after a lost connection, about a minute in all: a peer restarts within that. */
export const RETRIES_MAX = 10
/** Longest wait between two tries. */
export const RETRY_MS_MAX = 10_000
/** Files sealed and sent at once: hides the round trips of small files; large ones share the disk anyway. */
export const PUT_FILES_AT_ONCE = 4
/** A passphrase, in UTF-8. */
export const PASSPHRASE_BYTES_MAX = 1_024

/** Size at which a pack file is closed: a few thousand files hold a terabyte, and a torn tail is checked in half a second. */
export const STORE_PACK_BYTES = 256 * 1024 * 1024
/** Records of one pack: its index file stays under 12 MiB even when all blocks are tiny. */
export const STORE_PACK_RECORDS_MAX = 262_144
/** Waiting calls are gathered into one write up to this; more gains nothing on any disk measured. */
export const STORE_BATCH_BYTES_MAX = 4 * 1024 * 1024
/** What one call writes or leaves entirely: two upload batches; a larger call goes in pieces of this size. */
export const STORE_CALL_BYTES_MAX = 32 * 1024 * 1024
/** The same by number, for tiny blocks: a pack stays within twice `STORE_PACK_RECORDS_MAX`. */
export const STORE_CALL_RECORDS_MAX = 65_536
/** Written and not yet synced: keeps the disk busy during a sync, and bounds what the next sync takes (0.1 s at 300 MB/s). */
export const STORE_UNSYNCED_BYTES_MAX = 32 * 1024 * 1024
/** Pack files held open for reading: well under the usual limit of 1,024 descriptors. */
export const STORE_OPEN_PACKS_MAX = 64
/** Free space of the disk is asked again after this time, or after `STORE_FREE_CHECK_BYTES` were written. */
export const STORE_FREE_CHECK_MS = 1_000
/** So far may the cached figure be off by our own writes: under 1% of the default reserve. */
export const STORE_FREE_CHECK_BYTES = 64 * 1024 * 1024
/** A pack is rewritten when this much of it is removed blocks: at most half of the store is waste, at most one byte is copied per byte freed. */
export const STORE_COMPACT_DEAD_RATIO = 0.5
/** The same when the store is nearly full: copying 19 bytes to free one is then worth it. */
export const STORE_COMPACT_PRESSED_DEAD_RATIO = 0.05
/** Above this part of what it may use, the store counts as nearly full. */
export const STORE_PRESSED_RATIO = 0.9
/** Default for `fullRatio`: file systems slow down, and repair needs room, above it. */
export const STORE_FULL_RATIO = 0.95
/** Default for `reserveFreeBytes`: the state database, logs and repair of a peer for days. */
export const STORE_RESERVE_FREE_BYTES = 10 * 1024 * 1024 * 1024
/** Freed when the disk is full: journal entries and state of thousands of blocks. */
export const STORE_BALLAST_BYTES = 16 * 1024 * 1024
/** Tables of 2 MiB that LevelDB keeps open: it maps them, and what is touched counts as the process's memory. */
export const STORE_LEVEL_FILES_MAX = 64
/** Damaged blocks named in a report; the count is exact beyond it. */
export const STORE_DAMAGE_LISTED_MAX = 65_536
/** Requests to an object store at once: 16 MiB on the way at the largest usual block, enough to fill 1 Gbit/s at 100 ms each. */
export const S3_REQUESTS_MAX = 16
/** Silence of an object store after which a request is given up: servers answer in under a second, a busy one in ten. */
export const S3_SILENCE_MS = 20_000
/** A whole request, so that an answer of one byte now and then ends too: a block at 20 kB/s. */
export const S3_REQUEST_MS_MAX = 120_000
/** Tries of one request: with the waits between them, a restart of the object store's front is sat out. */
export const S3_TRIES_MAX = 4
/** Wait before the second try; it doubles, with chance in it, so that peers don't come back all at once. */
export const S3_RETRY_MS = 200
/** The longest wait between two tries, also when the server asks for more. */
export const S3_RETRY_MS_MAX = 5_000
/** Keys in one page of a list: the most that S3 gives at once. */
export const S3_LIST_KEYS = 1_000
/** Such a page has about 400 kB. */
export const S3_LIST_BYTES_MAX = 4 * 1024 * 1024
/** Of an error's text only its code is read. */
export const S3_ERROR_BYTES_MAX = 64 * 1024
/** Blocks in one bucket: 256 TiB of segments; the index in memory would have 14 GiB. */
export const S3_BLOCKS_MAX = 2 ** 28
/** Blocks in one index file: 600 MB, read whole at the start; with more, the start asks the bucket. */
export const S3_INDEX_BLOCKS_MAX = 2 ** 24
/** A credentials file: two keys and a token. */
export const S3_CREDENTIALS_BYTES_MAX = 16 * 1024
/** Session description of one upload: length, names sealed elsewhere. */
export const UPLOAD_META_BYTES_MAX = 64 * 1024
/** Digests in one journal record: one gigabyte of segments. */
export const UPLOAD_RECORD_DIGESTS_MAX = 1_024
/** One record of a vote log: a block, header and body, with the frame around them. */
export const VOTE_LOG_RECORD_BYTES_MAX = CBOR_BYTES_MAX + HEADER_BYTES_MAX + 64 * 1024
/** Written and synced at once: three blocks and their votes; one step writes one block. */
export const VOTE_LOG_APPEND_BYTES_MAX = 8 * 1024 * 1024
/** A vote log is read whole at a start, within the memory of a validator. Sixty full blocks above the last final one. */
export const VOTE_LOG_BYTES_MAX = 128 * 1024 * 1024
/** Opened segments on their way to the disk. */
export const DOWNLOAD_BUFFERS = 6

/** A config names a consortium's members and little else; more is not a config. */
export const CONFIG_BYTES_MAX = 256 * 1024
/** Paths and addresses of a config; the longest path of common systems is 4,096. */
export const CONFIG_TEXT_MAX = 4_096
/** Addresses of one machine: its networks, in both address families. */
export const CONFIG_ADDRESSES_MAX = 32
/** Every peer of every institution at its largest. */
export const CONFIG_MEMBERS_MAX = INSTITUTIONS_MAX * INSTITUTION_PEERS_MAX
/** Each unfinished upload holds a connection and its buffers. */
export const UPLOADS_OPEN_MAX = 2_000
/** Whole uploads that no object names yet: two folders of the largest kind. Some hundred bytes of memory each, and a journal. */
export const UPLOADS_WHOLE_MAX = 2 * LISTING_FILES_MAX
/** Journals of uploads in one folder: each is a file, and all are read at start. */
export const UPLOAD_JOURNALS_MAX = UPLOADS_OPEN_MAX + UPLOADS_WHOLE_MAX
/** Blocks of one sync answer by count, and by bytes: under `CBOR_BYTES_MAX` with one full block more. */
export const SYNC_BLOCKS_MAX = 256
export const SYNC_BLOCKS_BYTES_MAX = 1_280 * 1024
export const SYNC_ANSWER_BYTES_MAX = CBOR_BYTES_MAX
/** So far behind, a peer takes a snapshot instead of executing: some minutes of work at full blocks. */
export const CATCH_UP_SNAPSHOT_BLOCKS = 5_000
/** A question of the snapshot protocol: its kind, a height, a tree key. */
export const SNAPSHOT_REQUEST_BYTES_MAX = 128
/** Last headers of epochs in one answer: 256 of 100 validators each, with certificates, are 6 MB; bytes end an answer earlier. */
export const EPOCH_ENDS_MAX = 256
/** Headers in one answer: half a megabyte of usual ones. */
export const SNAPSHOT_HEADERS_MAX = 1_024
/** At this size an answer of headers ends, or behind the one that crosses it. */
export const SNAPSHOT_HEADERS_BYTES = 1024 * 1024
/**
 * The end of an epoch stays for others while they asked for its state so lately: who fetches asks one member after the other, a hundred of
 * them at a few seconds each.
 */
export const SNAPSHOT_ASKED_MS = 300_000
/** No end of an epoch stays that is older than so many epochs: three quarters of an hour at the fastest. What they differ in is on the disk. */
export const SNAPSHOTS_ASKED_MAX = 16
/** The largest answer of the snapshot protocol: a chunk. */
export const SNAPSHOT_ANSWER_BYTES_MAX = CBOR_BYTES_MAX
/** A peer whose answer did not hold is not asked to catch up for so long, unless there is no other. */
export const CATCH_UP_PASSED_OVER_MS = 60_000
/** How long after its start a peer is waited for to hear of the newest block, where its ledger doesn't name what is read: time to dial, be dialled, and take what it lacks where that is little. A longer rebuild is not waited for. */
export const LEDGER_ARRIVAL_MS = 15_000
/** Rebuilds of a damaged ledger in one life of a process: damage that comes back is the disk's, or the program's, and needs someone. */
export const LEDGER_REBUILDS_MAX = 3
/** Headers below the head that are looked at when a chain is opened: more than the log of the database, which a crash or bit rot may leave with a gap, can hold. */
export const CHAIN_RECHECKED_HEADERS = 2_048
/** Bytes of one batch when a ledger is copied into its own database. */
export const LEDGER_COPY_BYTES = 4 * 1024 * 1024
/** A peer asks the members for new blocks this often, in case gossip missed one. */
export const SYNC_INTERVAL_MS = 10_000
/** Receipts of the newest blocks in memory, for clients that ask when theirs is there: four full blocks, some 2 MB. */
export const RECEIPTS_RECENT_MAX = 8_192
/** The answer to a transaction: a fault with bounded fields, or nothing. */
export const TX_ANSWER_BYTES_MAX = 4 * 1024
/** Entries of one page of a list over HTTP: 2.2 MB where each carries a wrapped key. */
export const LIST_MAX = 1_000
/** Entries of a page where the request doesn't say. */
export const LIST_DEFAULT = 100
/** How long one request may wait for a transaction to become final. */
export const TX_WAIT_MS_MAX = 60_000
/** `network leave --wait` looks so often what is still held: it takes hours, and each look reads all extents. */
export const LEAVE_LOOK_MS = 5_000
/** How long the CLI's transactions may wait for a block: longer than any outage that someone waits through at a prompt. */
export const TX_LIFETIME_MS = 3_600_000
/** Uploads that expired are looked for this often; they last hours. */
export const UPLOAD_EXPIRY_INTERVAL_MS = 600_000
/** How often the scrub schedule looks whether it is time. */
export const SCRUB_CHECK_MS = 60_000
/** A scrub notes its place this often: what a restart costs. */
export const SCRUB_SLICE_MS = 60_000

/** A light proof: a genesis of 100 institutions, and the largest record with its versions or 75 changes of 100 validators. */
export const PROOF_BYTES_MAX = CBOR_BYTES_MAX
/** Changes of validators that one proof follows: one a week for twenty years. */
export const PROOF_LINKS_MAX = 1_024
/** State keys of one proof: a record with all versions that a page shows; 256 kB of paths at a million keys. */
export const PROOF_ENTRIES_MAX = 256
/** The longest path to a historyRoot: heights are safe integers. */
export const PROOF_HISTORY_PATH_MAX = 53
/** The longest path to a txRoot or receiptsRoot: log2 of `BLOCK_TXS_MAX`, rounded up. */
export const PROOF_TX_PATH_MAX = 11
/** A value of the state: an account with `ACCOUNT_KEYS_MAX` X-Wing keys has 260 kB. */
export const PROOF_VALUE_BYTES_MAX = 512 * 1024
/** 256 siblings of 34 bytes, and a leaf. */
export const PROOF_STATE_BYTES_MAX = 16 * 1024
/** A receipt; see `RECEIPT_FAULT_TEXT_MAX`. */
export const PROOF_RECEIPT_BYTES_MAX = 2 * 1024
/** The head may move on while several keys are read: so often is it tried to read them at one. */
export const PROOF_READ_TRIES = 8

/** Longest Δ: a view of an unreachable quorum is tried once in three minutes. */
export const CONSENSUS_DELTA_MS_MAX = 60_000
/** Growth of Δ with each view without finality after the first. */
export const CONSENSUS_DELTA_GROWTH = 1.5
/** Steps of growth: the smallest Δ is at its largest after 22. */
export const CONSENSUS_GROWTH_MAX = 24
/** Steps that are kept after a final block: 1.7 s, where Δ starts at 150 ms. */
export const CONSENSUS_GROWTH_KEPT_MAX = 6
/** A notarized block that is not final after as many Δ needs another one after it. */
export const CONSENSUS_UNFINAL_DELTAS = 4
/** A leader that a quorum has outlasted for so long gets no time. */
export const CONSENSUS_SILENT_MS = 10_000
/** Up to so many validators, certificates go to those who lack them; with more, to the next leaders. */
export const CONSENSUS_BROADCAST_VALIDATORS_MAX = 16
/** Votes for views further ahead are passed over: whoever is that far has certificates to show. */
export const CONSENSUS_VIEWS_AHEAD_MAX = 64
/** Proposals, with up to 2 MiB each, for views further ahead are passed over. */
export const CONSENSUS_PROPOSALS_AHEAD_MAX = 4
/** An honest signer has one ballot of each kind in a view; a little more shows that it isn't. */
export const CONSENSUS_BALLOTS_PER_SIGNER_MAX = 5
/** Final blocks further up than this are fetched in bulk, not one by one from validators. */
export const CONSENSUS_ANCESTORS_WANTED_MAX = 4
/** Longest pause before a wanted block is asked for again. */
export const CONSENSUS_WANT_MS_MAX = 5_000
/** A validator is given a block no more often: twenty blocks a second, each of up to 2 MiB. */
export const CONSENSUS_SERVE_INTERVAL_MS = 50
/** Signatures of certificates that are checked together, before others have their turn. */
export const CONSENSUS_CHECKED_TOGETHER = 64
/**
 * Blocks so many views after the final one hold no transactions, since what is in their way is not a lack of room, and come no sooner
 * than Δ after their view began. And blocks of views that were given up so many views ago are let go.
 */
export const CONSENSUS_FULL_VIEWS_MAX = 32
/** Certificates, and votes, that are sent again at once. */
export const CONSENSUS_CERTIFICATES_SENT_MAX = 256
/** A block with its envelope; a proposal of an epoch's last block carries a justification beside. */
export const CONSENSUS_MESSAGE_BYTES_MAX = 3 * 1024 * 1024
/** Messages that one validator is listened to in a second: with 100 of them a block has a few hundred votes. */
export const CONSENSUS_MESSAGES_PER_SECOND = 2_000
/** Bytes, likewise: full blocks, the transactions they are made of, and as much again. */
export const CONSENSUS_BYTES_PER_SECOND = 32 * 1024 * 1024
/** Transactions that are handed on again when a view is given up: one is enough to make a block due. */
export const TRANSACTIONS_SHARED_AGAIN_MAX = 64
/** Transactions that are handed on together. */
export const TRANSACTIONS_SHARED_MAX = 1_024
/**
 * Transactions are gathered for so long before they are handed on: a message for each costs three encryptions and as many wakeups. At
 * 300 a second, three are gathered where four take them in; a quarter of what passes between two blocks at the least.
 */
export const TRANSACTIONS_SHARE_WINDOW_MS = 40
/** Transactions of other peers that are decoded and verified between two looks at all else: some 3 ms. */
export const TRANSACTIONS_PER_TURN = 32
/** Handed on by one validator and not looked at yet: four messages, more than it takes in meanwhile; what is beyond comes again. */
export const TRANSACTIONS_SHARED_WAITING_MAX = 4 * TRANSACTIONS_SHARED_MAX
/** Their bytes, likewise. */
export const TRANSACTIONS_SHARED_WAITING_BYTES_MAX = 4 * CONSENSUS_MESSAGE_BYTES_MAX
/** No transactions are taken for so long from a validator that handed on what it can't have verified: one turn in an hour is nothing. */
export const TRANSACTIONS_REFUSED_MS = 3_600_000
/** What waits is handed on again no more often: a leader that missed it at first has it long before it leads again. */
export const TRANSACTIONS_SHARE_AGAIN_MS = 2_000
/** A validator asks for final blocks no more often, whatever it is told. */
export const CATCH_UP_INTERVAL_MS = 500
/** Length of the vote log at which what is final is taken out of it. */
export const VOTE_LOG_REPLACE_BYTES = 16 * 1024 * 1024
/** What frames may add to records that are about to be appended: some votes, a block, the certificates of a view or two. */
export const VOTE_LOG_SLACK_BYTES = 64 * 1024
/** A block that is due and not final for so long is a stall that operators are told of. */
export const LEDGER_STALL_MS = 3_000
