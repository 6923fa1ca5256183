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
  /** Seeds to try, until one notices: `from`, and on in steps, for as long as there are `seedsMax`. */
  readonly from: number
  readonly step: number
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
    from: 0,
    step: 1,
    seedsMax: 20,
  },

  {
    name: 'notarizes twice in a view',
    edits: [
      {
        file: 'src/consensus/simplex-proposal.ts',
        find: 'if (draft.view(view).proposal !== undefined || draft.view(view).own.notarized !== undefined) return\n',
        replace: '',
      },
      {
        file: 'src/consensus/simplex-proposal.ts',
        find: 'if (proposal === undefined || own.notarized !== undefined) return false\n',
        replace: 'if (proposal === undefined || own.notarized?.equals(proposal.block) === true) return false\n',
      },
    ],
    noticed: /sent notarize .* and notarize/,
    from: 1,
    step: 32,
    seedsMax: 20,
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
    from: 19,
    step: 32,
    seedsMax: 25,
  },
  {
    name: 'sends votes before they are durable',
    edits: [
      {
        file: 'src/consensus/vote-records.ts',
        find: 'await this.#inTurn(() => this.#writeAll(',
        replace: 'void this.#inTurn(() => this.#writeAll(',
      },
    ],
    noticed: /not durable/,
    from: 0,
    step: 1,
    seedsMax: 5,
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
    from: 12,
    step: 30,
    seedsMax: 30,
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
    from: 0,
    step: 30,
    seedsMax: 20,
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
    from: 508,
    step: 30,
    seedsMax: 30,
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
    from: 17,
    step: 32,
    seedsMax: 20,
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
    from: 21,
    step: 32,
    seedsMax: 20,
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
    from: 0,
    step: 1,
    seedsMax: 20,
  },
  {
    name: 'sends nothing again',
    edits: [
      {
        file: 'src/consensus/simplex-again.ts',
        find: '  if (!isUnsettled(draft) || draft.nowMs < draft.state.resendMs) return\n',
        replace: '  if (draft.state.view >= 0) return\n',
      },
    ],
    noticed: /no progress/,
    from: 0,
    step: 1,
    seedsMax: 20,
  },

  {
    name: 'counts a certificate without checking who signed',
    edits: [
      {
        file: 'src/consensus/signature-checks.ts',
        find: 'if (!(await this.#deps.verify(checks)).every(Boolean)) return { good, bad: 1 }\n',
        replace: 'await this.#deps.verify(checks)\n',
      },
    ],
    noticed: /./,
    from: 23,
    step: 32,
    seedsMax: 25,
  },
  {
    name: 'charges nothing for a transaction',
    edits: [
      {
        file: 'src/ledger/quota.ts',
        find: 'milliTokens: Math.max(0, milliTokens - MILLI)',
        replace: 'milliTokens',
      },
    ],
    noticed: /quota/,
    from: 0,
    step: 1,
    seedsMax: 5,
  },
]

/** @throws {Error} where the text that is to be broken isn't there, or more than once: the mutant says nothing then. */
export function mutate(name: string, { file, find, replace }: Edit, source: string): string {
  const parts = source.split(find)
  if (parts.length !== 2) throw new Error(`mutant "${name}": its text stands ${parts.length - 1} times in ${file}`)
  return parts.join(replace)
}
