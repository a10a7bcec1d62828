// A device on one of AWS's own Device SDKs for JavaScript, with the scenario's Will
// Message. The only argument is a JSON object: {sdk, transport, host, port, id, will,
// qos, caFile, certFile, keyFile, topic}. It subscribes to the topic, publishes on it
// and, when the message has come back, says "ready"; a line on standard input makes it
// disconnect.
import { createInterface } from 'node:readline'
import v1 from 'aws-iot-device-sdk'
import v2 from 'aws-iot-device-sdk-v2'

const o = JSON.parse(process.argv[2])
const payload = JSON.stringify({ state: { reported: { last_will: 'yes', trigger_action: 'on', client_id: o.id } } })
const webSocket = o.transport === 'websocket'
const keys = { accessKeyId: 'test', secretKey: 'test', region: 'us-east-1' }

function whenAsked (disconnect) {
  console.log('ready')
  createInterface({ input: process.stdin }).once('line', async () => {
    await disconnect()
    process.exit(0)
  })
}

function fail (err) {
  console.log(`error ${err}`)
  process.exit(1)
}

const sdks = {
  v1 () {
    const device = v1.device({
      ...(webSocket ? { protocol: 'wss', ...keys } : { protocol: 'mqtts', keyPath: o.keyFile, certPath: o.certFile, caPath: o.caFile }),
      ...(o.transport === 'alpn' ? { ALPNProtocols: ['x-amzn-mqtt-ca'] } : {}),
      host: o.host,
      port: o.port,
      clientId: o.id,
      keepalive: 30,
      will: { topic: o.will, payload, qos: o.qos, retain: false }
    })
    device.on('error', fail)
    device.on('connect', () => device.subscribe(o.topic, { qos: 1 }, () => device.publish(o.topic, 'hello', { qos: 1 })))
    device.on('message', () => whenAsked(() => new Promise((resolve) => device.end(false, resolve))))
  },

  async v2 () {
    const { iot, mqtt, auth } = v2
    const builder = webSocket
      ? iot.AwsIotMqttConnectionConfigBuilder.new_with_websockets({ region: keys.region, credentials_provider: auth.AwsCredentialsProvider.newStatic('test', 'test') })
      : iot.AwsIotMqttConnectionConfigBuilder.new_mtls_builder_from_path(o.certFile, o.keyFile)
    builder.with_certificate_authority_from_path(undefined, o.caFile).with_clean_session(true).with_client_id(o.id)
      .with_endpoint(o.host).with_port(o.port).with_keep_alive_seconds(30)
      .with_will(new mqtt.MqttWill(o.will, o.qos, payload, false))
    if (o.transport === 'mtls') builder.tls_ctx_options.alpn_list = []
    const connection = new mqtt.MqttClient().new_connection(builder.build())
    await connection.connect()
    await connection.subscribe(o.topic, mqtt.QoS.AtLeastOnce, () => whenAsked(() => connection.disconnect()))
    await connection.publish(o.topic, 'hello', mqtt.QoS.AtLeastOnce)
  },

  'v2, MQTT 5' () {
    const { iot, mqtt5, auth } = v2
    const builder = webSocket
      ? iot.AwsIotMqtt5ClientConfigBuilder.newWebsocketMqttBuilderWithSigv4Auth(o.host, { region: keys.region, credentialsProvider: auth.AwsCredentialsProvider.newStatic('test', 'test') })
      : iot.AwsIotMqtt5ClientConfigBuilder.newDirectMqttBuilderWithMtlsFromPath(o.host, o.certFile, o.keyFile)
    builder.withCertificateAuthorityFromPath(undefined, o.caFile).withPort(o.port).withConnectProperties({
      clientId: o.id, keepAliveIntervalSeconds: 30, will: { topicName: o.will, payload, qos: o.qos }
    })
    if (o.transport === 'mtls') builder.tlsContextOptions.alpn_list = []
    const client = new mqtt5.Mqtt5Client(builder.build())
    client.on('connectionFailure', (e) => fail(e.error))
    client.on('messageReceived', () => whenAsked(() => new Promise((resolve) => {
      client.on('stopped', resolve)
      client.stop({ reasonCode: mqtt5.DisconnectReasonCode.NormalDisconnection })
    })))
    client.on('connectionSuccess', async () => {
      await client.subscribe({ subscriptions: [{ topicFilter: o.topic, qos: mqtt5.QoS.AtLeastOnce }] })
      await client.publish({ topicName: o.topic, payload: 'hello', qos: mqtt5.QoS.AtLeastOnce })
    })
    client.start()
  }
}

try {
  await sdks[o.sdk]()
} catch (err) {
  fail(err)
}
