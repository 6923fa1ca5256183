/** docs/config.md, from the options that the code knows. */
import { type ConfigOption, describePeerConfigOptions } from '../src/peer/config-schema.ts'

const INTRODUCTION = `# The config of a peer

A JSON file, in which \`//\` comments and trailing commas are allowed. \`apotheca peer start CONFIG\` checks all of it before it starts
anything: an unknown option, a wrong value or a missing one is named with its line, and with what would be right
(\`CONFIG_INVALID\`). Ready files are in [peer-configs/](../peer-configs/README.md).

- Paths are relative to the config file.
- Sizes are a whole number of bytes, or a string with a unit: \`"512 MiB"\`, \`"50 GiB"\`, \`"1.5 TiB"\` (powers of 1,024: B, KiB, MiB, GiB, TiB, PiB).
- Times are whole numbers; the name of the option ends in their unit (\`Ms\`, \`Hours\`, \`Days\`).
- Keys and passphrases never stand in a config: it names the files that hold them.

This page is written from the code (\`npm run docs\`), and a test compares the two.

`

const cell = (text: string): string => text.replaceAll('|', '\\|')

function row({ name, form, byDefault, means }: ConfigOption): string {
  const standard = byDefault === undefined ? '(must be given)' : `\`${byDefault}\``
  return `| \`${name}\` | ${cell(form)} | ${cell(standard)} | ${cell(means)} |`
}

export function configDoc(): string {
  const rows = describePeerConfigOptions().map(row)
  return `${INTRODUCTION}${['| option | value | default | meaning |', '|---|---|---|---|', ...rows].join('\n')}\n`
}
