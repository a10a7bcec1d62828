package s3

import (
	"bytes"
	"crypto/md5" //nolint:gosec // S3's ETags are MD5 digests
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/johannesboyne/gofakes3"

	"lastwill/internal/localaws/awsapi"
)

// What uploads in parts may take until they are complete. Where there is no room
// the oldest one gives way: somebody has left it, as a CLI that is killed does.
const (
	maxUploads     = 1000
	maxUploadBytes = 256 << 20
)

// An upload is an object that comes in parts. It is not kept over a restart.
type upload struct {
	id          gofakes3.UploadID
	bucket, key string
	metadata    map[string]string
	parts       map[int][]byte
	bytes       int
}

var _ gofakes3.MultipartBackend = (*Service)(nil)

// CreateMultipartUpload begins an upload.
func (s *Service) CreateMultipartUpload(bucket, key string, metadata map[string]string) (gofakes3.UploadID, error) {
	if len(key) > gofakes3.KeySizeLimit {
		return "", gofakes3.ResourceError(gofakes3.ErrKeyTooLong, key)
	}
	u := &upload{id: gofakes3.UploadID(awsapi.NewID()), bucket: bucket, key: key, metadata: metadata, parts: map[int][]byte{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uploads = append(s.uploads, u)
	s.makeRoom(u)
	return u.id, nil
}

// UploadPart takes a part and returns its ETag.
func (s *Service) UploadPart(bucket, key string, id gofakes3.UploadID, number int, size int64, input io.Reader) (string, error) {
	part, err := gofakes3.ReadAll(input, size)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.upload(bucket, key, id)
	if err != nil {
		return "", err
	}
	u.bytes += len(part) - len(u.parts[number])
	u.parts[number] = part
	s.makeRoom(u)
	return etag(part), nil
}

// CompleteMultipartUpload makes an object of the parts.
func (s *Service) CompleteMultipartUpload(bucket, key string, id gofakes3.UploadID, in *gofakes3.CompleteMultipartUploadRequest) (gofakes3.VersionID, string, error) {
	s.mu.Lock()
	u, err := s.upload(bucket, key, id)
	var content, hashes []byte
	if err == nil {
		content, hashes, err = u.join(in)
	}
	s.mu.Unlock()
	if err != nil {
		return "", "", err
	}
	if _, err := s.PutObject(bucket, key, u.metadata, bytes.NewReader(content), int64(len(content)), nil); err != nil {
		return "", "", err
	}
	joined := md5.Sum(hashes) //nolint:gosec // S3's ETags are MD5 digests
	return "", fmt.Sprintf("%q", fmt.Sprintf("%x-%d", joined, len(in.Parts))), s.AbortMultipartUpload(bucket, key, id)
}

// join puts the parts together that a request names.
func (u *upload) join(in *gofakes3.CompleteMultipartUploadRequest) (content, hashes []byte, err error) {
	last := 0
	content = make([]byte, 0, u.bytes)
	for _, wanted := range in.Parts {
		part, ok := u.parts[wanted.PartNumber]
		if wanted.PartNumber <= last {
			return nil, nil, gofakes3.ErrInvalidPartOrder
		}
		if !ok || strings.Trim(wanted.ETag, `"`) != strings.Trim(etag(part), `"`) {
			return nil, nil, gofakes3.ErrorMessagef(gofakes3.ErrInvalidPart, "part %d was not uploaded, or is another", wanted.PartNumber)
		}
		hash := md5.Sum(part) //nolint:gosec // S3's ETags are MD5 digests
		last, content, hashes = wanted.PartNumber, append(content, part...), append(hashes, hash[:]...)
	}
	if last == 0 {
		return nil, nil, gofakes3.ErrMalformedXML
	}
	return content, hashes, nil
}

// AbortMultipartUpload forgets an upload.
func (s *Service) AbortMultipartUpload(bucket, key string, id gofakes3.UploadID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.upload(bucket, key, id)
	if err == nil {
		s.uploads = slices.DeleteFunc(s.uploads, func(other *upload) bool { return other == u })
	}
	return err
}

// ListMultipartUploads is not available here.
func (s *Service) ListMultipartUploads(string, *gofakes3.UploadListMarker, gofakes3.Prefix, int64) (*gofakes3.ListMultipartUploadsResult, error) {
	return nil, gofakes3.ErrNotImplemented
}

// ListParts is not available here.
func (s *Service) ListParts(string, string, gofakes3.UploadID, int, int64) (*gofakes3.ListMultipartUploadPartsResult, error) {
	return nil, gofakes3.ErrNotImplemented
}

// makeRoom drops the oldest uploads beside u until the rest fits; s.mu is held.
func (s *Service) makeRoom(u *upload) {
	total := 0
	for _, each := range s.uploads {
		total += each.bytes
	}
	s.uploads = slices.DeleteFunc(s.uploads, func(each *upload) bool {
		drop := each != u && (total > maxUploadBytes || len(s.uploads) > maxUploads)
		if drop {
			total -= each.bytes
		}
		return drop
	})
}

// upload finds an upload; s.mu is held.
func (s *Service) upload(bucket, key string, id gofakes3.UploadID) (*upload, error) {
	for _, u := range s.uploads {
		if u.id == id && u.bucket == bucket && u.key == key {
			return u, nil
		}
	}
	return nil, gofakes3.ErrNoSuchUpload
}

func etag(content []byte) string {
	hash := md5.Sum(content) //nolint:gosec // S3's ETags are MD5 digests
	return `"` + hex.EncodeToString(hash[:]) + `"`
}
