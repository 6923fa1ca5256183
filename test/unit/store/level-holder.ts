/** Holds a state database until it is killed: `node level-holder.ts DIR`. */
import { LevelStore } from '../../../src/store/level-store.ts'

const store = await LevelStore.open(process.argv[2] ?? '')
const text = new TextEncoder()
await store.batch([{ key: text.encode('key'), value: text.encode('a value that stands in the log as it is') }])
console.log('held')
setInterval(() => undefined, 1_000)
