/**
 * The rules of the house that no ready-made lint rule knows, as an oxlint plugin.
 *
 * `house/import-direction`: a folder of src/ imports only from folders before it in `FOLDERS`, or from itself.
 * `house/pure`: the first six folders have no platform: no `node:` module, no package that needs one, no clock, no timers,
 * no chance, no sockets; time and randomness come in through the ports of src/core/ports.ts.
 *
 * Both look at resolved paths and at scopes, not at text: `import()`, `export … from`, `import('…')` types and aliases count,
 * and a parameter that happens to be called `process` doesn't.
 *
 * @see docs/architecture.md; test/unit/lint/house.test.ts plants a violation of each kind
 */
import { posix } from 'node:path'

/** In the order of import: each folder may import from itself and from those before it. */
const FOLDERS = [
  'core',
  'crypto',
  'ledger',
  'domain',
  'consensus',
  'shards',
  'store',
  'p2p',
  'peer',
  'gateway',
  'cli',
] as const
const PURE_FOLDERS: readonly string[] = FOLDERS.slice(0, 6)
/** Talks only to the gateway, over HTTP; runs the same pure code, and nobody imports it. */
const WEB = 'web'
/** The one place of the pure folders that touches the platform, and only through this name. */
const NATIVE_FOLDER = 'src/crypto/native/'
const NATIVE_NAME = '#native'
const NATIVE_FORMS = /^src\/crypto\/native\/(?:node|browser)\.ts$/

/** What the pure folders may import from npm: packages without a platform. A new one is a decision, so it is named here. */
const PURE_PACKAGES: readonly string[] = [
  '@ipld/car',
  '@ipld/dag-cbor',
  '@ipld/dag-json',
  '@ipld/dag-pb',
  '@noble/ciphers',
  '@noble/curves',
  '@noble/hashes',
  'hpke',
  'ipfs-unixfs',
  'jsonc-parser',
  'multiformats',
  'uint8arraylist',
  'uint8arrays',
]

/** Globals that reach a clock, a timer, chance, a socket or the machine, and what to take instead. */
const IMPURE_GLOBALS: ReadonlyMap<string, string> = new Map([
  ...['setTimeout', 'setInterval', 'setImmediate', 'clearTimeout', 'clearInterval', 'clearImmediate'].map(
    (name) => [name, 'a timer is an effect that the caller carries out'] as const,
  ),
  ['queueMicrotask', 'return a promise, or an effect'],
  ['performance', 'take the time from the Clock port'],
  ['crypto', "use '#native' in src/crypto, or the Rng port"],
  ['process', 'take what you need as a parameter'],
  ['Buffer', 'use Uint8Array with uint8arrays'],
  ['console', 'log through the Log port'],
  ['globalThis', 'it reaches everything; name what you need as a parameter'],
  ['global', 'it is Node only; name what you need as a parameter'],
  ['window', 'it is browser only'],
  ['self', 'it is browser only'],
  ['document', 'it is browser only'],
  ['navigator', 'it is the machine'],
  ['localStorage', 'state comes through the KeyValueStore port'],
  ['indexedDB', 'state comes through the KeyValueStore port'],
  ['Worker', 'threads belong to the caller'],
  ['require', 'use import'],
  ['__dirname', 'pure code has no files'],
  ['__filename', 'pure code has no files'],
  ['eval', 'it runs text'],
  ['Function', 'it runs text'],
  ['Intl', "its answers depend on the machine's language"],
  ...['fetch', 'XMLHttpRequest', 'WebSocket', 'EventSource', 'BroadcastChannel'].map(
    (name) => [name, 'pure code has no sockets'] as const,
  ),
])

// The parts of oxlint's plugin interface that are used here; the package exports no types for them.
interface AstNode {
  readonly type: string
  readonly parent?: AstNode | null
  readonly [field: string]: unknown
}
interface Reference {
  readonly identifier: AstNode
  readonly isTypeReference?: boolean
}
interface Scope {
  readonly through: readonly Reference[]
  readonly variables: readonly { readonly defs: readonly unknown[]; readonly references: readonly Reference[] }[]
}
interface RuleContext {
  readonly physicalFilename: string
  readonly cwd: string
  readonly sourceCode: { readonly scopeManager: { readonly globalScope: Scope | null } }
  report(problem: { node: unknown; message: string }): void
}
type Visitor = Record<string, (node: AstNode) => void>

/** The path from the project's root, with forward slashes: `src/core/ids.ts`. */
function projectPath(context: RuleContext): string {
  return posix.relative(context.cwd.replaceAll('\\', '/'), context.physicalFilename.replaceAll('\\', '/'))
}

/** The folder of src/ that a path lies in, if any. */
function folderOf(path: string): string | undefined {
  return /^src\/([^/]+)\//.exec(path)?.[1]
}

function stringOf(node: unknown): string | undefined {
  const value = (node as AstNode | null | undefined)?.['value']
  return typeof value === 'string' ? value : undefined
}

/** Calls `visit` with every module name that the file names, in whichever form. */
function eachImport(visit: (specifier: string | undefined, node: AstNode) => void): Visitor {
  const ofSource = (node: AstNode): void => {
    // `export { x }` without a source names no module.
    if (node['source'] !== null && node['source'] !== undefined) visit(stringOf(node['source']), node)
  }
  return {
    ImportDeclaration: ofSource,
    ExportNamedDeclaration: ofSource,
    ExportAllDeclaration: ofSource,
    ImportExpression: ofSource,
    TSImportType: ofSource,
    TSExternalModuleReference: (node) => visit(stringOf(node['expression']), node),
  }
}

const importDirection = {
  meta: { type: 'problem' },
  create(context: RuleContext): Visitor {
    const path = projectPath(context)
    const from = folderOf(path)
    if (from === undefined) return {}
    const allowed = from === WEB ? [...PURE_FOLDERS, WEB] : FOLDERS.slice(0, FOLDERS.indexOf(from as never) + 1)
    return eachImport((specifier, node) => {
      if (!FOLDERS.includes(from as never) && from !== WEB) {
        context.report({ node, message: `src/${from}/ has no place in the order of imports: add it to FOLDERS here.` })
        return
      }
      if (specifier === undefined) {
        context.report({
          node,
          message: 'The name of a module is a plain string, so that its direction can be checked.',
        })
        return
      }
      if (specifier === NATIVE_NAME) {
        if (from !== 'crypto') {
          context.report({ node, message: `'#native' is for src/crypto/ only; import what you need from src/crypto/.` })
        }
        return
      }
      if (!specifier.startsWith('.')) return
      const target = posix.join(posix.dirname(path), specifier)
      const to = folderOf(target)
      if (to === undefined) {
        context.report({ node, message: `src/ imports only from src/: '${specifier}' is outside.` })
      } else if (!(allowed as readonly string[]).includes(to)) {
        context.report({
          node,
          message: `src/${from}/ may not import from src/${to}/: only from ${allowed.join(', ')}.`,
        })
      } else if (NATIVE_FORMS.test(target)) {
        context.report({ node, message: `Import '#native', so that a browser gets its own form of it.` })
      }
    })
  },
}

/** @returns why this use of `Date` or `Math` is impure, or undefined. */
function impureUse(identifier: AstNode, name: 'Date' | 'Math' | 'AbortSignal'): string | undefined {
  const parent = identifier.parent
  const isObject = parent?.type === 'MemberExpression' && parent['object'] === identifier
  const property = parent?.['property'] as AstNode | undefined
  const member = isObject && parent['computed'] !== true ? (property?.['name'] as string) : undefined
  if (name === 'AbortSignal') return member === 'timeout' ? 'it is a timer' : undefined
  if (name === 'Math') return member === undefined || member === 'random' ? 'take chance from the Rng port' : undefined
  const hasArguments = parent?.type === 'NewExpression' && (parent['arguments'] as readonly unknown[]).length > 0
  const asValue = hasArguments && parent['callee'] === identifier
  // A given instant is a value like any other; what may not be read is the machine's clock.
  return asValue || member === 'UTC' || member === 'parse' ? undefined : 'take the time from the Clock port'
}

/** Every use of a name that the file itself doesn't declare. */
function globalUses(scope: Scope): readonly Reference[] {
  const declared = scope.variables.filter((variable) => variable.defs.length === 0)
  const uses = new Set([...scope.through, ...declared.flatMap((variable) => variable.references)])
  return [...uses].filter((reference) => reference.isTypeReference !== true)
}

const pure = {
  meta: { type: 'problem' },
  create(context: RuleContext): Visitor {
    const path = projectPath(context)
    const folder = folderOf(path)
    if (folder === undefined || !PURE_FOLDERS.includes(folder) || path.startsWith(NATIVE_FOLDER)) return {}
    const imports = eachImport((specifier, node) => {
      if (specifier === undefined || specifier.startsWith('.') || specifier === NATIVE_NAME) return
      if (PURE_PACKAGES.some((name) => specifier === name || specifier.startsWith(`${name}/`))) return
      const reason = specifier.startsWith('node:') ? 'it is a Node module' : 'it is not among PURE_PACKAGES'
      context.report({ node, message: `src/${folder}/ is pure and may not import '${specifier}': ${reason}.` })
    })
    return {
      ...imports,
      MetaProperty: (node) => {
        if ((node['meta'] as AstNode)['name'] !== 'import') return
        context.report({ node, message: `src/${folder}/ is pure and may not use import.meta: it knows no place.` })
      },
      'Program:exit': () => {
        const scope = context.sourceCode.scopeManager.globalScope
        for (const { identifier } of scope === null ? [] : globalUses(scope)) {
          const name = identifier['name'] as string
          const partly = name === 'Date' || name === 'Math' || name === 'AbortSignal'
          const reason = partly ? impureUse(identifier, name) : IMPURE_GLOBALS.get(name)
          if (reason === undefined) continue
          context.report({
            node: identifier,
            message: `src/${folder}/ is pure and may not use '${name}' so: ${reason}.`,
          })
        }
      },
    }
  },
}

// oxlint loads a plugin by its default export.
export default { meta: { name: 'house' }, rules: { 'import-direction': importDirection, pure } }
