// As many devices on MQTT.js as it is told, in one process, connected as fast as
// they can be, 256 at a time. Says "connected SECONDS" when all are, and keeps them
// until its standard input ends.
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import mqtt from 'mqtt'

const [addr, ca, cert, key, count] = process.argv.slice(2)
const [host, port] = addr.split(':')
const secureContext = createSecureContext({ ca: readFileSync(ca), cert: readFileSync(cert), key: readFileSync(key) })
const clients = []

function connect (i) {
  return new Promise((resolve, reject) => {
    const clientId = `js-${i}`
    const payload = JSON.stringify({ state: { reported: { last_will: 'yes', trigger_action: 'on', client_id: clientId } } })
    const client = mqtt.connect({
      protocol: 'mqtts',
      host,
      port: Number(port),
      secureContext,
      clientId,
      keepalive: 1200,
      reconnectPeriod: 0,
      will: { topic: '/last/will/topic', payload, qos: 0, retain: false }
    })
    clients.push(client)
    client.on('connect', resolve)
    client.on('error', reject)
  })
}

const began = Date.now()
let next = 0
await Promise.all(Array.from({ length: 256 }, async () => {
  while (next < Number(count)) await connect(next++)
}))
console.log(`connected ${(Date.now() - began) / 1000}`)
process.stdin.on('data', () => {}).on('end', () => process.exit(0))
