// Many devices on MQTT.js in one process, each with a Will Message as the scenario
// has it. Standard input has a JSON object a line: {do, id, ...}. Standard output
// has "EVENT ID" for each client that connected or closed.
//
//   connect      with what mqtt.connect takes; caFile, certFile and keyFile are read,
//                url is a WebSocket's
//   disconnect   sends DISCONNECT
//   drop, reset  ends the TCP connection without
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import mqtt from 'mqtt'
import { WebSocket } from 'ws'

const clients = new Map()

const webSockets = new Map()

// socketOf is the TLS socket beneath a client, WebSocket or not.
function socketOf (as) {
  return webSockets.get(as)?._socket ?? clients.get(as).stream
}

function open (as, url, protocols, options) {
  const webSocket = new WebSocket(url, protocols, options)
  webSockets.set(as, webSocket)
  return webSocket
}

const actions = {
  connect ({ id, as, will, willQoS, url, caFile, certFile, keyFile, ...options }) {
    const tls = { ca: readFileSync(caFile) }
    if (certFile) Object.assign(tls, { cert: readFileSync(certFile), key: readFileSync(keyFile) })
    const payload = JSON.stringify({ state: { reported: { last_will: 'yes', trigger_action: 'on', client_id: id } } })
    const client = mqtt.connect({
      ...options,
      ...(url ? { createWebsocket: (_, protocols) => open(as, url, protocols, tls) } : tls),
      clientId: id,
      keepalive: 30,
      reconnectPeriod: 0,
      will: { topic: will, payload, qos: willQoS, retain: false }
    })
    clients.set(as, client)
    client.on('connect', () => console.log(`connected ${as}`))
    client.on('close', () => console.log(`closed ${as}`))
    client.on('error', (err) => console.log(`error ${as} ${err.message}`))
  },
  disconnect: ({ as }) => clients.get(as).end(),
  drop: ({ as }) => socketOf(as).destroy(),
  // Node resets plain TCP sockets only: this is the one beneath TLS.
  reset: ({ as }) => socketOf(as)._handle._parent.reset(() => {})
}

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const command = JSON.parse(line)
    actions[command.do](command)
  })
  .on('close', () => process.exit(0))
