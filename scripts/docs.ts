/** Writes the pages of docs/ that are made from the code. */
import { writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { configDoc } from './config-doc.ts'
import { faultsDoc, faultTables } from './faults-doc.ts'

const pages = [
  ['config.md', configDoc()],
  ['faults.md', faultsDoc(await faultTables())],
] as const
for (const [name, text] of pages) {
  await writeFile(fileURLToPath(new URL(`../docs/${name}`, import.meta.url)), text)
  console.log(`docs/${name}`)
}
