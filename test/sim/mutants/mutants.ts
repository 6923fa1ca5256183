/** Rules of the production code, each deliberately broken in one place: the simulation must notice every one. */

export interface Edit {
  /** From the root of the repository. */
  readonly file: string
  /** Stands there exactly once. */
  readonly find: string
  readonly replace: string
}

export interface Mutant {
  readonly name: string
  /** More than one where the rule is checked in several places. */
  readonly edits: readonly Edit[]
  /** What the simulation says of it. */
  readonly noticed: RegExp
  /** First seed to try. @default 0 */
  readonly from?: number
  /** How many. */
  readonly seedsMax: number
}

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'finalizes a view that it gave up',
    edits: [
      {
        file: 'src/consensus/simplex.ts',
        find: 'if (block === undefined || own.nullified || own.finalized !== undefined) continue',
        replace: 'if (block === undefined || own.finalized !== undefined) continue',
      },
    ],
    noticed: /sent (?:finalize|nullify) .* and (?:finalize|nullify)/,
    seedsMax: 60,
  },

  {
    name: 'notarizes twice in a view',
    edits: [
      {
        file: 'src/consensus/simplex-proposal.ts',
        find: "draft.editOwn(view, { notarized: id, proposed: true })\n  draft.emit({ type: 'cast'",
        replace: "draft.editOwn(view, { proposed: true })\n  draft.emit({ type: 'cast'",
      },
    ],
    noticed: /./,
    seedsMax: 60,
  },
  {
    name: 'takes a block over views that were not given up',
    edits: [
      {
        file: 'src/consensus/simplex-proposal.ts',
        find: 'if (nullifyCerts.length !== gap.to - gap.from - 1) return false\n',
        replace: '',
      },
      {
        file: 'src/ledger/block-check.ts',
        find: "if (nullifyCerts.length !== header.view - header.parentView - 1) return invalid('views between are not all nullified')",
        replace: '',
      },
    ],
    noticed: /./,
    seedsMax: 200,
  },
  {
    name: 'sends votes before they are durable',
    edits: [
      {
        file: 'src/consensus/vote-records.ts',
        find: 'await this.#inTurn(() => this.#log.append(live.map(({ record }) => record)))',
        replace: 'void this.#inTurn(() => this.#log.append(live.map(({ record }) => record)))',
      },
    ],
    noticed: /not durable/,
    seedsMax: 10,
  },
  {
    name: 'forgets its votes at a restart',
    edits: [
      {
        file: 'src/consensus/simplex.ts',
        find: '    remember(draft, vote)\n',
        replace: '',
      },
    ],
    noticed: /sent .* and |signs nothing any more/,
    seedsMax: 100,
  },
  {
    name: 'has a quorum of one too few',
    edits: [
      {
        file: 'src/ledger/validators.ts',
        find: 'export const quorumOf = (n: number): number => n - faultyMax(n)',
        replace: 'export const quorumOf = (n: number): number => Math.max(1, n - faultyMax(n) - 1)',
      },
    ],
    noticed: /fork|differ|no progress|faulty|signs nothing/,
    seedsMax: 200,
  },
  {
    name: 'builds on a block that ends its epoch before it is final',
    edits: [
      {
        file: 'src/consensus/simplex-parent.ts',
        find: 'const ending = isLastOfEpoch(header) ? held.block : undefined',
        replace: 'const ending = undefined',
      },
    ],
    noticed: /no progress|failed/,
    seedsMax: 200,
  },
  {
    name: 'takes a block whatever state it leads to',
    edits: [
      {
        file: 'src/ledger/proposal.ts',
        find: "if (!equals(block.tree.root, header.stateRoot)) throw new BlockError({ code: 'BLOCK_STATE_ROOT_WRONG', height })",
        replace: '',
      },
    ],
    noticed: /another state than its header/,
    seedsMax: 100,
  },
  {
    name: 'takes a block of any time',
    edits: [
      {
        file: 'src/consensus/simplex-proposal.ts',
        find: 'if (!isAgain && !isOfNow(draft, proposal, header)) return true\n',
        replace: '',
      },
    ],
    noticed: /from the future/,
    seedsMax: 120,
  },
  {
    name: 'passes over votes of past views',
    edits: [
      {
        file: 'src/consensus/simplex-votes.ts',
        find: 'if (view <= draft.state.final.view || view > current + CONSENSUS_VIEWS_AHEAD_MAX) return\n',
        replace: 'if (view < current || view > current + CONSENSUS_VIEWS_AHEAD_MAX) return\n',
      },
    ],
    noticed: /no progress/,
    seedsMax: 200,
  },
  {
    name: 'sends nothing again',
    edits: [
      {
        file: 'src/consensus/simplex.ts',
        find: '  if (!isUnsettled(draft) || draft.nowMs < draft.state.resendMs) return\n',
        replace: '  if (draft.state.view >= 0) return\n',
      },
    ],
    noticed: /no progress/,
    seedsMax: 200,
  },

  {
    name: 'counts a certificate without checking who signed',
    edits: [
      {
        file: 'src/consensus/replica.ts',
        find: 'return (await verify(items)).every(Boolean)',
        replace: 'return (await verify(items)).length > 0',
      },
    ],
    noticed: /./,
    seedsMax: 200,
  },
]

/** @throws {Error} where the text that is to be broken isn't there, or more than once: the mutant says nothing then. */
export function mutate(name: string, { file, find, replace }: Edit, source: string): string {
  const parts = source.split(find)
  if (parts.length !== 2) throw new Error(`mutant "${name}": its text stands ${parts.length - 1} times in ${file}`)
  return parts.join(replace)
}
