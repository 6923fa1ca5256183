import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { faultsDoc, faultTables } from '../../scripts/faults-doc.ts'
import { EXIT } from '../../src/core/coded-error.ts'
import { faultCatalog } from '../../src/gateway/fault-catalog.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** How a fault is written, in its type and where it is made; the codes of errors of Node have no underscore. */
const CODE_WRITTEN = /\bcode: '([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)'/g

async function sources(): Promise<readonly { file: string; text: string }[]> {
  const names = (await readdir(join(ROOT, 'src'), { recursive: true })).filter((name) => name.endsWith('.ts'))
  return Promise.all(names.map(async (file) => ({ file, text: await readFile(join(ROOT, 'src', file), 'utf8') })))
}

const tables = await faultTables()
const rows = tables.flatMap(({ file, table }) => Object.entries(table).map(([code, info]) => ({ file, code, info })))
const codes = new Set(rows.map(({ code }) => code))

test('docs/faults.md is what the fault tables say (npm run docs writes it)', async () => {
  expect(await readFile(join(ROOT, 'docs/faults.md'), 'utf8')).toBe(faultsDoc(tables))
})

test('every code that the source names has a row', async () => {
  const missing = (await sources()).flatMap(({ file, text }) =>
    [...text.matchAll(CODE_WRITTEN)].flatMap(([, code = '']) => (codes.has(code) ? [] : [`${file}: ${code}`])),
  )
  expect(missing).toEqual([])
})

test('every row is of a code that the source uses', async () => {
  const text = (await sources()).flatMap((one) => (/(?:^|-|\/)faults\.ts$/.test(one.file) ? [] : [one.text])).join('\n')
  expect([...codes].filter((code) => !text.includes(`'${code}'`))).toEqual([])
})

test('a code has one row: a table may take in another, but none tells it otherwise', () => {
  expect(rows.filter(({ code, info }) => rows.find((row) => row.code === code)?.info !== info)).toEqual([])
})

test('the gateway knows every fault but those of the CLI', () => {
  const expected = new Set(rows.filter(({ file }) => !file.startsWith('cli/')).map(({ code }) => code))
  expect(Object.keys(faultCatalog).toSorted()).toEqual([...expected].toSorted())
})

test('every row has a sentence, what to do, and known statuses', () => {
  // 130: what a shell says of a program that Ctrl-C ended.
  const exits: readonly number[] = [...Object.values(EXIT), 130]
  const bad = rows.filter(({ info }) => {
    const isSaid = /[.?}]$/.test(info.says) && /[.?}]$/.test(info.todo)
    return !isSaid || !(info.http === 200 || (info.http >= 400 && info.http <= 599)) || !exits.includes(info.exit)
  })
  expect(bad).toEqual([])
})

test('a sentence names only fields that its fault has', async () => {
  const text = (await sources()).map((one) => one.text).join('\n')
  const unknown = rows.flatMap(({ code, info }) => {
    const written = [...text.matchAll(new RegExp(`code: '${code}'([^}]*)`, 'g'))]
      .map(([, fields = '']) => fields)
      .join()
    const fields = [...info.says.matchAll(/\{(\w+)\}/g)].map(([, field = '']) => field)
    return fields.filter((field) => !new RegExp(`\\b${field}\\b`).test(written)).map((field) => `${code}: {${field}}`)
  })
  expect(unknown).toEqual([])
})
