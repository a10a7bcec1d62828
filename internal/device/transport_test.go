package device

import "testing"

func TestAddress(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, endpoint string
		port           int
		host, addr     string
	}{
		{"a host name gets port 8883", "x-ats.iot.eu-west-1.amazonaws.com", 0, "x-ats.iot.eu-west-1.amazonaws.com", "x-ats.iot.eu-west-1.amazonaws.com:8883"},
		{"a port beside it", "localhost", 443, "localhost", "localhost:443"},
		{"a port in it", "localhost:1883", 0, "localhost", "localhost:1883"},
		{"the same port twice", "localhost:1883", 1883, "localhost", "localhost:1883"},
		{"IPv4", "127.0.0.1:1", 0, "127.0.0.1", "127.0.0.1:1"},
		{"bare IPv6", "::1", 0, "::1", "[::1]:8883"},
		{"IPv6 in brackets", "[::1]", 443, "::1", "[::1]:443"},
		{"IPv6 with a port", "[::1]:1883", 0, "::1", "[::1]:1883"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			host, addr, err := address(tt.endpoint, tt.port, mqttPort)
			if err != nil || host != tt.host || addr != tt.addr {
				t.Errorf("got %q, %q, %v; want %q, %q", host, addr, err, tt.host, tt.addr)
			}
		})
	}
}

func TestAddressRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, endpoint string
		port           int
		err            string
	}{
		{"nothing", "", 0, `endpoint is empty: give the host name that "aws iot describe-endpoint --endpoint-type iot:Data-ATS" prints`},
		{"a scheme", "mqtts://host", 0, `endpoint "mqtts://host" has a scheme: give the host name alone`},
		{"a path", "host/mqtt", 0, `endpoint "host/mqtt" is not a host name: give the host name alone`},
		{"a space", "my host", 0, `endpoint "my host" is not a host name: give the host name alone`},
		{"two ports", "host:1:2", 0, `endpoint "host:1:2" is neither host nor host:port: write an IPv6 address with a port as [address]:port`},
		{"a lone colon", ":", 0, `endpoint ":" is neither host nor host:port: write an IPv6 address with a port as [address]:port`},
		{"an open bracket", "[::1", 0, `endpoint "[::1" is neither host nor host:port: write an IPv6 address with a port as [address]:port`},
		{"a name in brackets", "[host]", 0, `endpoint "[host]" is neither host nor host:port: write an IPv6 address with a port as [address]:port`},
		{"a port that is no number", "host:mqtt", 0, `endpoint "host:mqtt" has port "mqtt": give 1 to 65535`},
		{"port 0", "host:0", 0, `endpoint "host:0" has port "0": give 1 to 65535`},
		{"a port too high", "host", 65536, `port 65536: give 1 to 65535`},
		{"a negative port", "host", -1, `port -1: give 1 to 65535`},
		{"ports that contradict", "host:1", 2, `endpoint "host:1" has port 1, but port 2 is asked for too: give one of them`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := address(tt.endpoint, tt.port, mqttPort); err == nil || err.Error() != tt.err {
				t.Errorf("got %v, want %s", err, tt.err)
			}
		})
	}
}

// FuzzAddress checks that an address leads back to itself.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"host", "host:1", "::1", "[::1]:1", "[", "]", ":", "[]", "[]:1", "a]b", "::1%eth0", ":::1"} {
		f.Add(s, 0)
	}
	f.Fuzz(func(t *testing.T, endpoint string, port int) {
		host, addr, err := address(endpoint, port, mqttPort)
		if err != nil {
			return
		}
		again, same, err := address(addr, port, mqttPort)
		if err != nil || host == "" || again != host || same != addr {
			t.Errorf("%q, %d: %q, %q; again %q, %q, %v", endpoint, port, host, addr, again, same, err)
		}
	})
}
