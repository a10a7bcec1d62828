// A device on MQTT.js, with a Will Message as the scenario has it: connects over
// mutual TLS, says "connected", and ends as it is told on standard input: "drop"
// destroys the socket, "disconnect" sends DISCONNECT.
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import mqtt from 'mqtt'

const [host, port, ca, cert, key, clientId, willTopic] = process.argv.slice(2)

const payload = JSON.stringify({
  state: { reported: { last_will: 'yes', trigger_action: 'on', client_id: clientId } }
})
const client = mqtt.connect({
  protocol: 'mqtts',
  host,
  port: Number(port),
  ca: readFileSync(ca),
  cert: readFileSync(cert),
  key: readFileSync(key),
  clientId,
  keepalive: 30,
  reconnectPeriod: 0,
  will: { topic: willTopic, payload, qos: 0, retain: false }
})

client.on('connect', () => console.log('connected'))
client.on('error', (err) => {
  console.error(err.message)
  process.exit(1)
})
client.on('close', () => process.exit(0))

createInterface({ input: process.stdin }).on('line', (line) => {
  if (line === 'drop') client.stream.destroy()
  if (line === 'disconnect') client.end()
})
