// Package pemfile reads certificates, keys and signing requests as people have them:
// in PEM, whose line breaks, quotes or encoding a shell, an editor or a program may have
// changed, in the JSON that AWS returns, in DER, and several in one file.
package pemfile

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"lastwill/internal/cli"
	"lastwill/internal/shell"
	"lastwill/internal/textfile"
)

// Types of blocks that are told apart. Older names of the same become these.
const (
	Certificate  = "CERTIFICATE"
	Request      = "CERTIFICATE REQUEST"
	PrivateKey   = "PRIVATE KEY"
	RSAKey       = "RSA PRIVATE KEY"
	ECKey        = "EC PRIVATE KEY"
	EncryptedKey = "ENCRYPTED PRIVATE KEY"
)

// Read returns the blocks of a file, at least one. Its errors have a hint, unless the
// file cannot be read.
func Read(file string) ([]*pem.Block, error) {
	data, err := textfile.Read(file)
	if err != nil {
		return nil, err
	}
	blocks, err := Decode(data)
	var other *otherFormat
	if errors.As(err, &other) {
		return nil, cli.WithHint(fmt.Errorf("%s %w", file, err), "%s", strings.ReplaceAll(other.fix, "FILE", shell.Quote(file)))
	}
	return blocks, err
}

// Of returns the first block of one of the types; nil if there is none.
func Of(blocks []*pem.Block, types ...string) *pem.Block {
	i := slices.IndexFunc(blocks, func(b *pem.Block) bool { return slices.Contains(types, b.Type) })
	if i < 0 {
		return nil
	}
	return blocks[i]
}

// Key returns the first private key of the blocks, encrypted or not; nil if there is none.
func Key(blocks []*pem.Block) *pem.Block {
	return Of(blocks, PrivateKey, RSAKey, ECKey, EncryptedKey)
}

// Encrypted tells whether a passphrase protects a key.
func Encrypted(key *pem.Block) bool {
	return key.Type == EncryptedKey || strings.Contains(key.Headers["Proc-Type"], "ENCRYPTED") || key.Headers["DEK-Info"] != ""
}

// Decrypt is the command that removes the passphrase of a key. The key stays its
// owner's only.
func Decrypt(file string) string {
	plain := shell.Quote(file + ".plain")
	return fmt.Sprintf("openssl pkey -in %[1]s -out %[2]s && mv %[2]s %[1]s", shell.Quote(file), plain)
}

// Instead says what to do about a file that holds a block of another type than the one
// that is wanted.
func Instead(file, holds string) string {
	file = shell.Quote(file)
	switch holds {
	case "OPENSSH PRIVATE KEY":
		return fmt.Sprintf("ssh-keygen -p -N '' -m PKCS8 -f %s", file) + " writes the key in PEM, into the same file"
	case "PKCS7":
		return fmt.Sprintf("openssl pkcs7 -in %s -print_certs -out device.pem.crt", file) + " takes the certificates out"
	case Request:
		return "this is the request: give the certificate that was issued for it"
	case "PUBLIC KEY", "RSA PUBLIC KEY":
		return "this is the public half: give the private key that was made with it"
	}
	return "are two file names swapped?"
}

// An otherFormat is the error of a text without PEM blocks.
type otherFormat struct {
	is string
	// fix has FILE where the file's name goes.
	fix string
}

func (e *otherFormat) Error() string { return e.is }

var (
	errNone = &otherFormat{"is not in PEM format", "a PEM file has a line -----BEGIN ...-----; give such a file, or one in DER"}
	errCut  = &otherFormat{"is cut off: a -----BEGIN ...----- line has no -----END ...----- line", "get the whole file again"}
)

// others are formats by what they begin with.
var others = []struct {
	prefix string
	otherFormat
}{
	{"{", otherFormat{"is not in PEM format: it is JSON without a certificate or key", "get the file again, as aws iot describe-certificate or create-keys-and-certificate prints it"}},
	{"<", otherFormat{"is not in PEM format: it is a web page or XML", "get the file itself: curl -fO and the address of the download, not of the page"}},
	{"PK\x03\x04", otherFormat{"is not in PEM format: it is a ZIP archive", "unzip FILE"}},
	{"\x1f\x8b", otherFormat{"is not in PEM format: it is compressed", "gzip -cd FILE > device.pem"}},
	{"\xfe\xed\xfe\xed", otherFormat{"is not in PEM format: it is a Java keystore", "keytool -importkeystore -srckeystore FILE -destkeystore device.p12 -deststoretype PKCS12, then openssl pkcs12 -in device.p12 -nodes -out device.pem"}},
	{"PuTTY-User-Key-File", otherFormat{"is not in PEM format: it is a key of PuTTY", "puttygen FILE -O private-openssh -o device.key, then ssh-keygen -p -N '' -m PKCS8 -f device.key"}},
	{"ssh-", otherFormat{"is not in PEM format: it is a public key of SSH", "give the private key, in PEM"}},
	{"ecdsa-sha2-", otherFormat{"is not in PEM format: it is a public key of SSH", "give the private key, in PEM"}},
}

var (
	begin = regexp.MustCompile(`-----BEGIN ([^-]+)-----`)
	block = regexp.MustCompile(`(?s)-----BEGIN ([^-]+)-----(.*?)-----END ([^-]+)-----`)
	// Line breaks that were written out, once or several times.
	escaped = regexp.MustCompile(`\\+[nrt]`)
	// What joins the lines of a string in a program.
	joined = regexp.MustCompile("[\"'`]\\s*\\+\\s*[\"'`]")
)

// Decode returns the blocks of a text, at least one.
func Decode(data []byte) ([]*pem.Block, error) {
	text := strings.TrimSpace(string(data))
	if text == "" {
		return nil, &otherFormat{"is empty", "get the file again"}
	}
	if blocks, err := decodePEM(strings.Join(jsonTexts(text), "\n")); blocks != nil || err != nil {
		return blocks, err
	}
	if blocks, err := decodePEM(text); blocks != nil || err != nil {
		return blocks, err
	}
	// Without its lines, or once more in base64, as secrets are stored.
	if inner, err := decodeBase64(text); err == nil && len(inner) > 0 {
		if blocks, err := decodePEM(string(inner)); blocks != nil || err != nil {
			return blocks, err
		}
		data = inner
	}
	if parts := sequence(data); parts != nil {
		b, err := oneDER(data, parts)
		if err != nil {
			return nil, err
		}
		return []*pem.Block{b}, nil
	}
	for _, o := range others {
		if strings.HasPrefix(text, o.prefix) {
			return nil, &o.otherFormat
		}
	}
	return nil, errNone
}

// jsonTexts returns the strings of a JSON text, in their order; none if it is no JSON.
func jsonTexts(text string) (texts []string) {
	d := json.NewDecoder(strings.NewReader(text))
	for {
		token, err := d.Token()
		switch s, ok := token.(string); {
		case errors.Is(err, io.EOF):
			return texts
		case err != nil:
			return nil
		case ok:
			texts = append(texts, s)
		}
	}
}

func decodePEM(text string) ([]*pem.Block, error) {
	text = escaped.ReplaceAllString(text, "\n")
	var blocks []*pem.Block
	found := block.FindAllStringSubmatch(text, -1)
	for _, m := range found {
		if begin.MatchString(m[2]) || m[1] != m[3] {
			return nil, errCut
		}
		b, err := oneBlock(m[1], m[2])
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, b)
	}
	if len(begin.FindAllString(text, -1)) > len(found) {
		return nil, errCut
	}
	return blocks, nil
}

func oneBlock(kind, body string) (*pem.Block, error) {
	b := &pem.Block{Type: kind, Headers: map[string]string{}}
	body = joined.ReplaceAllString(body, "")
	var encoded strings.Builder
	for line := range strings.FieldsFuncSeq(body, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			b.Headers[strings.Trim(name, ignored)] = strings.Trim(value, ignored)
			continue
		}
		encoded.WriteString(line)
	}
	var err error
	if b.Bytes, err = decodeBase64(encoded.String()); err != nil {
		return nil, &otherFormat{fmt.Sprintf("is damaged: what it has as %s is not base64", kind), "get the file again"}
	}
	switch kind {
	case "X509 CERTIFICATE":
		b.Type = Certificate
	case "TRUSTED CERTIFICATE": // of openssl, which appends what it trusts the certificate for
		b.Type = Certificate
		var first asn1.RawValue
		if _, err := asn1.Unmarshal(b.Bytes, &first); err == nil {
			b.Bytes = first.FullBytes
		}
	case "NEW CERTIFICATE REQUEST":
		b.Type = Request
	}
	return b, nil
}

// ignored are characters around and between those of base64.
const ignored = " \t\r\n\v\f\"'`\\,;"

// decodeBase64 also takes a text without the padding at its end.
func decodeBase64(text string) ([]byte, error) {
	text = strings.Map(func(r rune) rune {
		if strings.ContainsRune(ignored, r) {
			return -1
		}
		return r
	}, text)
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
}

// Object identifiers of what a DER text may hold (RFC 2315, 14; RFC 5208, 6).
var signedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}

// sequence returns the values of the ASN.1 sequence that a text is; none if it is
// something else.
func sequence(data []byte) (parts []asn1.RawValue) {
	var whole asn1.RawValue
	rest, err := asn1.Unmarshal(data, &whole)
	if err != nil || len(rest) > 0 || whole.Tag != asn1.TagSequence || !whole.IsCompound {
		return nil
	}
	for rest = whole.Bytes; len(rest) > 0; {
		var part asn1.RawValue
		if rest, err = asn1.Unmarshal(rest, &part); err != nil {
			return nil
		}
		parts = append(parts, part)
	}
	return parts
}

// oneDER returns the block that a text in DER is, if it is one.
func oneDER(data []byte, parts []asn1.RawValue) (*pem.Block, error) {
	kind := ""
	switch {
	case shaped(parts, asn1.TagSequence, asn1.TagSequence, asn1.TagBitString):
		kind = signed(parts[0])
	case shaped(parts, asn1.TagSequence, asn1.TagOctetString):
		kind = EncryptedKey
	case shaped(parts, asn1.TagInteger, asn1.TagOctetString):
		kind = ECKey
	case shaped(parts, asn1.TagInteger, asn1.TagSequence, asn1.TagOctetString):
		kind = PrivateKey
	case shaped(parts, asn1.TagInteger, asn1.TagInteger, asn1.TagInteger, asn1.TagInteger):
		kind = RSAKey
	case shaped(parts, asn1.TagInteger, asn1.TagSequence) && bytes.Equal(parts[0].Bytes, []byte{3}):
		return nil, &otherFormat{"is not in PEM format: it is a PKCS #12 archive", "openssl pkcs12 -in FILE -nodes -out device.pem"}
	case shaped(parts, asn1.TagOID):
		var id asn1.ObjectIdentifier
		if _, err := asn1.Unmarshal(parts[0].FullBytes, &id); err == nil && id.Equal(signedData) {
			return nil, &otherFormat{"is not in PEM format: it is PKCS #7", "openssl pkcs7 -inform der -in FILE -print_certs -out device.pem.crt"}
		}
	}
	if kind == "" {
		return nil, errNone
	}
	return &pem.Block{Type: kind, Headers: map[string]string{}, Bytes: data}, nil
}

// shaped tells whether parts begin with values of these types.
func shaped(parts []asn1.RawValue, tags ...int) bool {
	if len(parts) < len(tags) {
		return false
	}
	for i, tag := range tags {
		if parts[i].Tag != tag || parts[i].Class != asn1.ClassUniversal {
			return false
		}
	}
	return true
}

// signed tells a certificate from a request: the version of a certificate has a tag of
// its own, that of a request is a number before the subject (RFC 5280, 4.1; RFC 2986, 4.1).
func signed(content asn1.RawValue) string {
	var first, second asn1.RawValue
	rest, err := asn1.Unmarshal(content.Bytes, &first)
	if err == nil {
		_, err = asn1.Unmarshal(rest, &second)
	}
	if err == nil && first.Class == asn1.ClassUniversal && bytes.Equal(first.Bytes, []byte{0}) && second.Tag == asn1.TagSequence {
		var name asn1.RawValue
		if _, err := asn1.Unmarshal(second.Bytes, &name); len(second.Bytes) == 0 || err == nil && name.Tag == asn1.TagSet {
			return Request
		}
	}
	return Certificate
}
