/** docs/faults.md, from the fault tables of the folders. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { EXIT, type FaultInfo, type FaultTable } from '../src/core/coded-error.ts'

const SOURCES = fileURLToPath(new URL('../src/', import.meta.url))
const TABLE_FILE = /(?:^|[-/])faults\.ts$/
const TABLE_NAME = /^[a-z0-9]+Faults$/i

const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  internal: 'a bug, or something nobody foresaw',
  usage: 'wrong words on the command line, a bad file or config: mend the input',
  notFound: 'what was asked for is not there',
  denied: 'not allowed: no grant, wrong key, not a member',
  integrity: 'bytes are not what they should be',
  unavailable: 'a peer, a disk or the network is not there now: try again',
  capacity: 'no room, or over a limit',
  conflict: 'it conflicts with what is already there',
}

const INTRODUCTION = `# Faults

Whatever Apotheca refuses, it refuses with a code. The code is stable: scripts may rely on it. The CLI prints the sentence and what to do, and
ends with the exit status; with \`--json\` it prints the code and its fields. The HTTP API answers with RFC 9457 problem details that
hold the same. \`{…}\` stands for a field of the fault. No fault holds patient data, a key or a passphrase.

This page is written from the code (\`npm run docs\`), and a test compares the two.

## Exit statuses

`

/** A fault table, and the file it is in. */
export interface NamedTable {
  /** From src/: `store/faults.ts`. */
  readonly file: string
  readonly table: FaultTable
}

/** Every fault table of src/, folder by folder. */
export async function faultTables(): Promise<readonly NamedTable[]> {
  const entries = await readdir(SOURCES, { recursive: true })
  const files = entries
    .map((entry) => entry.replaceAll('\\', '/'))
    .filter((entry) => TABLE_FILE.test(entry))
    .toSorted()
  const found = files.map(async (file) => {
    const module = (await import(pathToFileURL(join(SOURCES, file)).href)) as Readonly<Record<string, FaultTable>>
    const names = Object.keys(module).filter((name) => TABLE_NAME.test(name))
    return names.map((name) => ({ file, table: module[name] ?? {} }))
  })
  return (await Promise.all(found)).flat()
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('<', '&lt;')

function row([code, { says, todo, http, exit }]: readonly [string, FaultInfo]): string {
  return `| \`${code}\` | ${cell(says)} | ${cell(todo)} | ${http} | ${exit} |`
}

export function faultsDoc(tables: readonly NamedTable[]): string {
  const exits = Object.entries(EXIT).map(([name, status]) => {
    return `| ${status} | ${EXIT_MEANINGS[name as keyof typeof EXIT]} |`
  })
  // A folder's table may take in one of its own files: each code once.
  const byCode = new Map(tables.flatMap(({ table }) => Object.entries(table)))
  const rows = [...byCode].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(row)
  const exitTable = [
    '| status | meaning |',
    '|---|---|',
    '| 0 | done |',
    ...exits,
    '| 130 | interrupted by Ctrl-C |',
  ].join('\n')
  const codeTable = ['| code | what it says | what to do | HTTP | exit |', '|---|---|---|---|---|', ...rows].join('\n')
  return `${INTRODUCTION}${exitTable}\n\n## Codes\n\n${codeTable}\n`
}
