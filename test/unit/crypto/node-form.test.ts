/** The suites of crypto on the Node form of `#native`. */
import { keystoreSuite } from './suites/keystore.ts'
import { sealedStreamSuite } from './suites/sealed-stream.ts'
import { signaturesSuite } from './suites/signatures.ts'

signaturesSuite('node')
sealedStreamSuite('node')
keystoreSuite('node')
