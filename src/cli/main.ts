#!/usr/bin/env -S MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=262144 MALLOC_TRIM_THRESHOLD_=2097152 node --max-semi-space-size=6
/** The command line. Commands are listed here; what they do is loaded when it is asked for, so that small ones start fast. */
import { setFlagsFromString } from 'node:v8'
import { Command } from 'commander'
import { carCommands } from './car-commands.ts'
import { consentCommands } from './consent-commands.ts'
import { contentCommands } from './content-commands.ts'
import { DEFAULT_HOME } from './home.ts'
import { keyCommands } from './key-commands.ts'
import { ledgerCommands } from './ledger-commands.ts'
import { networkCommands } from './network-commands.ts'
import { peerCommands } from './peer-commands.ts'
import { recordCommands } from './record-commands.ts'
import { safetyCommands } from './safety-commands.ts'
import { storageCommands } from './storage-commands.ts'
import { validatorCommands } from './validator-commands.ts'
import { VERSION } from './version.ts'

// Buffers count as external memory, which V8 collects at every 64 MB however small the heap is: twice the CPU time of a get
// (docs/decisions/0042-garbage-collection.md).
setFlagsFromString('--external-memory-accounted-in-global-limit')

// Node calls parts of WebCrypto experimental at each start, on every terminal; what they compute is checked by vectors.
process.removeAllListeners('warning')
process.on('warning', (warning) => {
  if (warning.name !== 'ExperimentalWarning') process.stderr.write(`${warning.name}: ${warning.message}\n`)
})

const program = new Command('apotheca')
  .description('Sealed medical data, shared between institutions with rights the patient sets.')
  .version(VERSION)
  .option('--home <folder>', 'keystores and unfinished uploads', process.env['APOTHECA_HOME'] ?? DEFAULT_HOME)
  .option('--peer <folder>', 'data folder of the running peer (also APOTHECA_PEER; default: HOME/peer)')
  .option('--passphrase-file <file>', 'read the passphrase from a file, mode 0600')
  .option('--json', 'print one JSON document', false)
  .showHelpAfterError('(add --help for what there is)')
  .exitOverride((error) => {
    process.exit(error.exitCode === 0 ? 0 : 2)
  })

contentCommands(program)
carCommands(program)
recordCommands(program)
consentCommands(program)
keyCommands(program)
ledgerCommands(program)
validatorCommands(program)
storageCommands(program)
peerCommands(program)
networkCommands(program)
safetyCommands(program)

await program.parseAsync()
