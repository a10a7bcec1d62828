// Package textfile reads text as editors and shells save it: in UTF-8 or UTF-16, with or
// without a byte order mark.
package textfile

import (
	"bytes"
	"encoding/binary"
	"os"
	"unicode/utf16"
)

// Read returns the content of a file in UTF-8 without a byte order mark.
func Read(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	return UTF8(data), err
}

// UTF8 returns a text in UTF-8 without a byte order mark. A text without a mark is
// UTF-16 if it begins with an ASCII character in that encoding.
func UTF8(data []byte) []byte {
	if rest, ok := bytes.CutPrefix(data, []byte("\ufeff")); ok {
		return rest
	}
	var order binary.ByteOrder
	switch {
	case len(data) < 2:
		return data
	case data[0] == 0xff && data[1] == 0xfe:
		order, data = binary.LittleEndian, data[2:]
	case data[0] == 0xfe && data[1] == 0xff:
		order, data = binary.BigEndian, data[2:]
	case isText(data[0]) && data[1] == 0:
		order = binary.LittleEndian
	case data[0] == 0 && isText(data[1]):
		order = binary.BigEndian
	default:
		return data
	}
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = order.Uint16(data[2*i:])
	}
	return []byte(string(utf16.Decode(units)))
}

func isText(b byte) bool { return b >= ' ' && b < 0x7f || b == '\n' || b == '\r' || b == '\t' }
