// Package s3 keeps the objects of buckets: a deployment's templates and assets.
// It is a backend of gofakes3, which speaks S3's protocol.
//
// Known differences from S3: no versions, ACLs, lifecycle or encryption; a
// bucket's policy is not asked; all objects together have at most 512 MiB; an
// upload in parts ends with the process.
package s3

import (
	"bytes"
	"crypto/md5" //nolint:gosec // S3's ETag is an MD5 digest
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/johannesboyne/gofakes3"

	"lastwill/internal/atomicfile"
	"lastwill/internal/localaws/awsapi"
)

// maxBytes is what all objects may have together.
const maxBytes = 512 << 20

// A Service holds the buckets of one account.
type Service struct {
	dir string // of the objects' files; empty: in memory

	mu      sync.RWMutex
	buckets map[string]*bucket
	bytes   int64
	uploads []*upload // oldest first
}

var _ gofakes3.Backend = (*Service)(nil)

type bucket struct {
	Created time.Time
	Objects map[string]*object // by key
}

type object struct {
	Size     int64
	Hash     []byte // MD5
	Modified time.Time
	Metadata map[string]string
	// File has the content where the Service has a folder. Its name is no part of
	// the key: no key leads out of the folder.
	File string

	content []byte
}

// New returns a Service without buckets. With a folder it keeps the objects'
// contents there. Default: in memory.
func New(dir string) (*Service, error) {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("folder of the assets: %w", err)
		}
	}
	return &Service{dir: dir, buckets: map[string]*bucket{}}, nil
}

// Object returns the content of an object.
func (s *Service) Object(bucketName, key string) ([]byte, error) {
	o, err := s.GetObject(bucketName, key, nil)
	if err != nil {
		return nil, err
	}
	defer o.Contents.Close()
	return io.ReadAll(o.Contents)
}

// Buckets returns the names of all buckets.
func (s *Service) Buckets() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.buckets))
}

// ListBuckets returns all buckets.
func (s *Service) ListBuckets() ([]gofakes3.BucketInfo, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []gofakes3.BucketInfo
	for _, name := range slices.Sorted(maps.Keys(s.buckets)) {
		out = append(out, gofakes3.BucketInfo{Name: name, CreationDate: gofakes3.NewContentTime(s.buckets[name].Created)})
	}
	return out, nil
}

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// CreateBucket makes a bucket.
func (s *Service) CreateBucket(name string) error {
	if !bucketName.MatchString(name) {
		return gofakes3.ErrorMessagef(gofakes3.ErrInvalidBucketName, "bucket name %.100q must have 3 to 63 small letters, digits, dots and hyphens", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[name] != nil {
		return gofakes3.ResourceError(gofakes3.ErrBucketAlreadyExists, name)
	}
	s.buckets[name] = &bucket{Created: time.Now().UTC(), Objects: map[string]*object{}}
	return nil
}

// BucketExists reports whether there is a bucket.
func (s *Service) BucketExists(name string) (bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.buckets[name] != nil, nil
}

// DeleteBucket removes an empty bucket.
func (s *Service) DeleteBucket(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(name)
	if err != nil {
		return err
	}
	if len(b.Objects) > 0 {
		return gofakes3.ResourceError(gofakes3.ErrBucketNotEmpty, name)
	}
	delete(s.buckets, name)
	return nil
}

// ForceDeleteBucket is what no client can ask for.
func (s *Service) ForceDeleteBucket(name string) error { return s.DeleteBucket(name) }

// ListBucket returns a page of the objects of a bucket, by key.
func (s *Service) ListBucket(name string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage) (*gofakes3.ObjectList, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.bucket(name)
	if err != nil {
		return nil, err
	}
	if prefix == nil {
		prefix = &gofakes3.Prefix{}
	}
	list := gofakes3.NewObjectList()
	var entries int64
	lastPrefix := ""
	for _, key := range slices.Sorted(maps.Keys(b.Objects)) {
		var match gofakes3.PrefixMatch
		if page.HasMarker && key <= page.Marker || !prefix.Match(key, &match) {
			continue
		}
		if match.CommonPrefix && match.MatchedPart == lastPrefix {
			continue
		}
		if page.MaxKeys > 0 && entries == page.MaxKeys {
			list.IsTruncated = true
			break
		}
		entries++
		list.NextMarker = key
		if match.CommonPrefix {
			lastPrefix = match.MatchedPart
			list.AddPrefix(match.MatchedPart)
			continue
		}
		o := b.Objects[key]
		list.Add(&gofakes3.Content{
			Key: key, LastModified: gofakes3.NewContentTime(o.Modified), ETag: gofakes3.FormatETag(o.Hash), Size: o.Size,
		})
	}
	return list, nil
}

// HeadObject returns an object without its content.
func (s *Service) HeadObject(bucketName, key string) (*gofakes3.Object, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, err := s.object(bucketName, key)
	if err != nil {
		return nil, err
	}
	return &gofakes3.Object{
		Name: key, Metadata: maps.Clone(o.Metadata), Size: o.Size, Hash: o.Hash, Contents: io.NopCloser(bytes.NewReader(nil)),
	}, nil
}

// GetObject returns an object, or the asked range of it.
func (s *Service) GetObject(bucketName, key string, asked *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	out, err := s.HeadObject(bucketName, key)
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, err := s.object(bucketName, key)
	if err != nil {
		return nil, err
	}
	content := o.content
	if o.File != "" {
		if content, err = os.ReadFile(filepath.Join(s.dir, o.File)); err != nil {
			return nil, err
		}
	}
	if out.Range, err = asked.Range(o.Size); err != nil {
		return nil, err
	}
	if out.Range != nil {
		content = content[out.Range.Start : out.Range.Start+out.Range.Length]
	}
	out.Contents = io.NopCloser(bytes.NewReader(content))
	return out, nil
}

// PutObject stores an object.
func (s *Service) PutObject(
	bucketName, key string, metadata map[string]string, input io.Reader, size int64, conditions *gofakes3.PutConditions,
) (gofakes3.PutObjectResult, error) {
	result := gofakes3.PutObjectResult{}
	content, err := gofakes3.ReadAll(input, size)
	if err != nil {
		return result, err
	}
	hash := md5.Sum(content) //nolint:gosec // S3's ETag is an MD5 digest
	o := &object{Size: int64(len(content)), Hash: hash[:], Modified: time.Now().UTC(), Metadata: maps.Clone(metadata)}
	if s.dir == "" {
		o.content = content
	} else {
		o.File = awsapi.NewID()
		if err := atomicfile.Write(filepath.Join(s.dir, o.File), content); err != nil {
			return result, err
		}
	}
	if err := s.put(bucketName, key, o, conditions); err != nil {
		s.remove(o.File)
		return result, err
	}
	return result, nil
}

func (s *Service) put(bucketName, key string, o *object, conditions *gofakes3.PutConditions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(bucketName)
	if err != nil {
		return err
	}
	before := b.Objects[key]
	info := &gofakes3.ConditionalObjectInfo{}
	var freed int64
	if before != nil {
		info.Exists, info.Hash, freed = true, before.Hash, before.Size
	}
	if conditions != nil {
		if err := gofakes3.CheckPutConditions(conditions, info); err != nil {
			return err
		}
	}
	if s.bytes+o.Size-freed > maxBytes {
		return gofakes3.ErrorMessagef(gofakes3.ErrInvalidArgument, "the objects of this local endpoint would have more than %d bytes: delete some", maxBytes)
	}
	s.bytes += o.Size - freed
	b.Objects[key] = o
	return nil
}

// remove removes a file that nothing refers to. Those of deleted objects stay
// until the next start: the saved state refers to them until it is saved again.
func (s *Service) remove(file string) {
	if file != "" {
		_ = os.Remove(filepath.Join(s.dir, file)) // a file too many does no harm
	}
}

// DeleteObject removes an object. One that does not exist is no error.
func (s *Service) DeleteObject(bucketName, key string) (gofakes3.ObjectDeleteResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(bucketName)
	if err != nil {
		return gofakes3.ObjectDeleteResult{}, err
	}
	if o := b.Objects[key]; o != nil {
		delete(b.Objects, key)
		s.bytes -= o.Size
	}
	return gofakes3.ObjectDeleteResult{}, nil
}

// DeleteMulti removes several objects.
func (s *Service) DeleteMulti(bucketName string, keys ...string) (gofakes3.MultiDeleteResult, error) {
	var result gofakes3.MultiDeleteResult
	for _, key := range keys {
		if _, err := s.DeleteObject(bucketName, key); err != nil {
			return result, err
		}
		result.Deleted = append(result.Deleted, gofakes3.ObjectID{Key: key})
	}
	return result, nil
}

// CopyObject copies an object.
func (s *Service) CopyObject(fromBucket, fromKey, toBucket, toKey string, metadata map[string]string) (gofakes3.CopyObjectResult, error) {
	return gofakes3.CopyObject(s, fromBucket, fromKey, toBucket, toKey, metadata)
}

// bucket finds a bucket; s.mu is held.
func (s *Service) bucket(name string) (*bucket, error) {
	b := s.buckets[name]
	if b == nil {
		return nil, gofakes3.BucketNotFound(name)
	}
	return b, nil
}

// object finds an object; s.mu is held.
func (s *Service) object(bucketName, key string) (*object, error) {
	b, err := s.bucket(bucketName)
	if err != nil {
		return nil, err
	}
	o := b.Objects[key]
	if o == nil {
		return nil, gofakes3.KeyNotFound(key)
	}
	return o, nil
}

// MarshalJSON returns all buckets; the objects' contents are in their files.
func (s *Service) MarshalJSON() ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return json.Marshal(s.buckets)
}

// UnmarshalJSON brings saved buckets back.
func (s *Service) UnmarshalJSON(b []byte) error {
	buckets := map[string]*bucket{}
	if err := json.Unmarshal(b, &buckets); err != nil {
		return fmt.Errorf("saved buckets: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets = buckets
	kept := map[string]bool{}
	for _, b := range buckets {
		for _, o := range b.Objects {
			s.bytes += o.Size
			kept[o.File] = true
		}
	}
	return s.sweep(kept)
}

// sweep removes the files of objects that are deleted.
func (s *Service) sweep(kept map[string]bool) error {
	if s.dir == "" {
		return nil
	}
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("folder of the assets: %w", err)
	}
	for _, file := range files {
		if !kept[file.Name()] {
			s.remove(file.Name())
		}
	}
	return nil
}
