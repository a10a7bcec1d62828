package api_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const assets = "cdk-hnb659fds-assets-123456789012-us-east-1"

// bucket returns a client, as the CDK CLI makes it, and a bucket for assets.
func (e *endpoint) bucket(t testing.TB, changes ...func(*s3.Options)) *s3.Client {
	t.Helper()
	client := s3.NewFromConfig(e.config(), append([]func(*s3.Options){func(o *s3.Options) { o.UsePathStyle = true }}, changes...)...)
	_, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(assets)})
	check(t, err)
	return client
}

func put(t testing.TB, client *s3.Client, key, content string) {
	t.Helper()
	_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String(assets), Key: &key, Body: strings.NewReader(content), ContentType: aws.String("application/json"),
	})
	check(t, err)
}

func get(t testing.TB, client *s3.Client, key string) string {
	t.Helper()
	out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String(assets), Key: &key})
	check(t, err)
	defer out.Body.Close()
	return readAll(out.Body)
}

func TestObjectIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	e := start(t)
	client := e.bucket(t)
	for _, key := range []string{
		"a.json", "a b+c&d=e?f#g%h", "äöü/日本", "../../../etc/passwd", "a//b", "./a", "a/../b", "/a", "trailing/", "...", "\\..\\a", strings.Repeat("k", 1024),
	} {
		t.Run(fmt.Sprintf("%.30s", key), func(t *testing.T) {
			t.Parallel()
			put(t, client, key, "content of "+key)
			if got := get(t, client, key); got != "content of "+key {
				t.Errorf("the content is %q", got)
			}
			head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String(assets), Key: &key})
			check(t, err)
			if *head.ContentLength != int64(len("content of "+key)) || *head.ContentType != "application/json" {
				t.Errorf("the object has %d bytes of type %s", *head.ContentLength, *head.ContentType)
			}
			if got, err := e.S3.Object(assets, key); err != nil || string(got) != "content of "+key {
				t.Errorf("the service has %q, %v", got, err)
			}
		})
	}
}

func TestChecksumOfObjectIsChecked(t *testing.T) {
	t.Parallel()
	client := start(t).bucket(t)
	for _, test := range []struct {
		algorithm types.ChecksumAlgorithm
		wrong     func(*s3.PutObjectInput)
	}{
		{types.ChecksumAlgorithmCrc32, func(in *s3.PutObjectInput) { in.ChecksumCRC32 = aws.String("AAAAAA==") }},
		{types.ChecksumAlgorithmCrc32c, func(in *s3.PutObjectInput) { in.ChecksumCRC32C = aws.String("AAAAAA==") }},
		{types.ChecksumAlgorithmCrc64nvme, func(in *s3.PutObjectInput) { in.ChecksumCRC64NVME = aws.String("AAAAAAAAAAA=") }},
		{types.ChecksumAlgorithmSha1, func(in *s3.PutObjectInput) { in.ChecksumSHA1 = aws.String("AAAAAAAAAAAAAAAAAAAAAAAAAAA=") }},
		{types.ChecksumAlgorithmSha256, func(in *s3.PutObjectInput) {
			in.ChecksumSHA256 = aws.String("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
		}},
	} {
		t.Run(string(test.algorithm), func(t *testing.T) {
			t.Parallel()
			in := s3.PutObjectInput{
				Bucket: aws.String(assets), Key: aws.String(string(test.algorithm)), ChecksumAlgorithm: test.algorithm, Body: strings.NewReader("content"),
			}
			_, err := client.PutObject(t.Context(), &in)
			check(t, err)
			test.wrong(&in)
			in.Body = strings.NewReader("other")
			_, err = client.PutObject(t.Context(), &in)
			fails(t, err, "BadDigest")
			if got := get(t, client, *in.Key); got != "content" {
				t.Errorf("the refused object is stored: %q", got)
			}
		})
	}
}

func TestBucketAnswersWhatTheCDKAsks(t *testing.T) {
	t.Parallel()
	client := start(t).bucket(t)
	put(t, client, "abc.zip", "content of a zip")
	put(t, client, "abcdef.zip", "content")

	location, err := client.GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: aws.String(assets), ExpectedBucketOwner: aws.String(account.ID)})
	check(t, err)
	if location.LocationConstraint != "" { // which is us-east-1
		t.Errorf("the bucket is in %q", location.LocationConstraint)
	}
	encryption, err := client.GetBucketEncryption(t.Context(), &s3.GetBucketEncryptionInput{Bucket: aws.String(assets)})
	check(t, err)
	if got := encryption.ServerSideEncryptionConfiguration.Rules[0].ApplyServerSideEncryptionByDefault.SSEAlgorithm; got != types.ServerSideEncryptionAes256 {
		t.Errorf("the bucket has the encryption %s", got)
	}
	list, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(assets), Prefix: aws.String("abc.zip"), MaxKeys: aws.Int32(1)})
	check(t, err)
	if len(list.Contents) != 1 || *list.Contents[0].Key != "abc.zip" || *list.Contents[0].Size != 16 {
		t.Errorf("the list is %+v", list.Contents)
	}
	_, err = client.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String(assets)})
	check(t, err)
}

func TestS3RefusesWithItsOwnErrors(t *testing.T) {
	t.Parallel()
	e := start(t)
	client := e.bucket(t)
	put(t, client, "a", "content")
	none := aws.String("none-such-bucket")
	bucket, key := aws.String(assets), aws.String("none")

	_, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: key})
	failsAs[*types.NoSuchKey](t, err)
	_, err = client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: key})
	failsAs[*types.NotFound](t, err)
	_, err = client.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: none})
	failsAs[*types.NotFound](t, err)
	_, err = client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: none, Key: key, Body: strings.NewReader("")})
	fails(t, err, "NoSuchBucket")
	_, err = client.GetBucketEncryption(t.Context(), &s3.GetBucketEncryptionInput{Bucket: none})
	fails(t, err, "NoSuchBucket")
	_, err = client.GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: bucket, ExpectedBucketOwner: aws.String("210987654321")})
	fails(t, err, "AccessDenied")
	_, err = client.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: bucket})
	fails(t, err, "BucketNotEmpty")
	_, err = client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("Not_A_Name")})
	fails(t, err, "InvalidBucketName")
	_, err = client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: aws.String(strings.Repeat("k", 1025)), Body: strings.NewReader("")})
	fails(t, err, "KeyTooLongError")
	_, err = client.GetBucketAcl(t.Context(), &s3.GetBucketAclInput{Bucket: bucket})
	fails(t, err, "NotImplemented")
	_, err = client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: "Enabled"}})
	fails(t, err, "NotImplemented")
	_, err = client.GetBucketIntelligentTieringConfiguration(t.Context(), &s3.GetBucketIntelligentTieringConfigurationInput{Bucket: bucket, Id: key})
	fails(t, err, "NotImplemented")
}

func TestBucketIsEmptiedAndDeleted(t *testing.T) {
	t.Parallel()
	client := start(t).bucket(t)
	for i := range 25 {
		put(t, client, fmt.Sprintf("folder/%02d", i), "content")
	}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: aws.String(assets), MaxKeys: aws.Int32(10)})
	var found []types.ObjectIdentifier
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		check(t, err)
		for _, o := range page.Contents {
			found = append(found, types.ObjectIdentifier{Key: o.Key})
		}
	}
	if len(found) != 25 {
		t.Fatalf("the pages have %d objects, not 25", len(found))
	}
	deleted, err := client.DeleteObjects(t.Context(), &s3.DeleteObjectsInput{Bucket: aws.String(assets), Delete: &types.Delete{Objects: found[:24]}})
	check(t, err)
	if len(deleted.Deleted) != 24 || len(deleted.Errors) != 0 {
		t.Errorf("deleted %d, failed %d", len(deleted.Deleted), len(deleted.Errors))
	}
	_, err = client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String(assets), Key: found[24].Key})
	check(t, err)
	_, err = client.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: aws.String(assets)})
	check(t, err)
	_, err = client.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String(assets)})
	failsAs[*types.NotFound](t, err)
}

func TestFoldersAreListedByDelimiter(t *testing.T) {
	t.Parallel()
	client := start(t).bucket(t)
	for _, key := range []string{"a/1", "a/2", "b/1", "c"} {
		put(t, client, key, "content")
	}
	list, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String(assets), Delimiter: aws.String("/")})
	check(t, err)
	if len(list.CommonPrefixes) != 2 || len(list.Contents) != 1 {
		t.Errorf("there are %d folders and %d objects", len(list.CommonPrefixes), len(list.Contents))
	}
}

// parts uploads an object as the CDK CLI does with assets above 5 MB.
func parts(t testing.TB, client *s3.Client, key string, contents ...string) error {
	t.Helper()
	bucket := aws.String(assets)
	upload, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: bucket, Key: &key})
	check(t, err)
	var done types.CompletedMultipartUpload
	for i, content := range contents {
		number := aws.Int32(int32(i + 1))
		part, err := client.UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: bucket, Key: &key, UploadId: upload.UploadId, PartNumber: number, Body: strings.NewReader(content),
		})
		if err != nil {
			return err
		}
		done.Parts = append(done.Parts, types.CompletedPart{ETag: part.ETag, PartNumber: number})
	}
	_, err = client.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: &key, UploadId: upload.UploadId, MultipartUpload: &done})
	return err
}

func TestLargeObjectComesInParts(t *testing.T) {
	t.Parallel()
	client := start(t).bucket(t)
	first, second := strings.Repeat("1", 5<<20), strings.Repeat("2", 1<<20)
	check(t, parts(t, client, "large.zip", first, second))
	if got := get(t, client, "large.zip"); got != first+second {
		t.Errorf("the object has %d bytes", len(got))
	}
}

// chunked makes the SDK send an object as it does over HTTPS: in chunks, with the
// checksum behind them.
func chunked(o *s3.Options) {
	o.HTTPClient = client(func(r *http.Request) (*http.Response, error) {
		r.URL.Scheme = "http"
		return http.DefaultClient.Do(r)
	})
	o.BaseEndpoint = aws.String(strings.Replace(*o.BaseEndpoint, "http:", "https:", 1))
}

func TestObjectComesInChunks(t *testing.T) {
	t.Parallel()
	client := start(t).bucket(t, chunked)
	for _, size := range []int{0, 1, 65536, 100_000} {
		content := strings.Repeat("c", size)
		key := fmt.Sprint(size)
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String(assets), Key: &key, Body: io.LimitReader(strings.NewReader(content), int64(size)), ContentLength: aws.Int64(int64(size)),
		})
		check(t, err)
		if got := get(t, client, key); got != content {
			t.Errorf("%d bytes are read as %d", size, len(got))
		}
	}
}

func TestBucketIsFoundByHost(t *testing.T) {
	t.Parallel()
	e := start(t)
	put(t, e.bucket(t), "a", "content")
	virtual := s3.NewFromConfig(e.config(), func(o *s3.Options) {
		o.BaseEndpoint = aws.String(strings.Replace(e.url, "127.0.0.1", "localhost", 1))
		o.HTTPClient = client(func(r *http.Request) (*http.Response, error) { // no resolver needs to know *.localhost
			if !strings.HasPrefix(r.URL.Host, assets+".localhost:") {
				t.Errorf("the host is %s", r.URL.Host)
			}
			r.Host, r.URL.Host = r.URL.Host, strings.TrimPrefix(e.url, "http://")
			return http.DefaultClient.Do(r)
		})
	})
	if got := get(t, virtual, "a"); got != "content" {
		t.Errorf("the object is %q", got)
	}
	put(t, virtual, "b/c", "other")
	if got := get(t, virtual, "b/c"); got != "other" {
		t.Errorf("the object is %q", got)
	}
}
