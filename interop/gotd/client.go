package gotd

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync"

	"github.com/cenkalti/backoff/v4"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/session"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
)

// FileSizes are the lengths, in bytes, of the files that Use uploads and
// downloads: below, at and above the lengths at which envelopes and FakeTLS
// records change their form, up to the API's limit for one part of a file.
var FileSizes = []int{1, 400, 460, 2800, 15_000, 70_000, MaxFile}

// MaxFile is the largest of FileSizes. MaxFileFakeTLS is the largest that gotd can
// send with an ee secret, because gotd makes one record of each Write. The
// listener rejects records above 16640 bytes, TLS's limit, and gotd truncates the
// length of records above 65535 bytes to 16 bits.
const (
	MaxFile        = 512 << 10
	MaxFileFakeTLS = 15_000
)

// Options returns the options for a client of a test server with that key.
func Options(resolver dcs.Resolver, list dcs.List, key exchange.PublicKey, reconnect func() backoff.BackOff) telegram.Options {
	return telegram.Options{
		PublicKeys:          []exchange.PublicKey{key},
		DC:                  DC,
		DCList:              list,
		Resolver:            resolver,
		SessionStorage:      &session.StorageMemory{},
		Random:              &luckyRand{},
		NoUpdates:           true,
		CompressThreshold:   -1,
		ReconnectionBackoff: reconnect,
	}
}

// Use runs gotd's client. It creates an auth key, opens a session with
// help.getConfig, calls that once more, and uploads and downloads files of at most
// maxFile bytes. It uses one connection of resolver: if that ends, Use fails.
func Use(ctx context.Context, resolver dcs.Resolver, list dcs.List, key exchange.PublicKey, maxFile int) error {
	return use(ctx, resolver, list, key, func(ctx context.Context, api *tg.Client) error { return useAll(ctx, api, maxFile) })
}

// use runs gotd's client, and calls work when it has a session. If its connection ends,
// so does use.
func use(ctx context.Context, resolver dcs.Resolver, list dcs.List, key exchange.PublicKey, work func(context.Context, *tg.Client) error) error {
	never := func() backoff.BackOff { return &backoff.StopBackOff{} }
	client := telegram.NewClient(1, "hash", Options(resolver, list, key, never))
	return client.Run(ctx, func(ctx context.Context) error { return work(ctx, client.API()) })
}

// useAll calls help.getConfig, and uploads and downloads a file of each size.
func useAll(ctx context.Context, api *tg.Client, maxFile int) error {
	config, err := api.HelpGetConfig(ctx)
	if err != nil {
		return fmt.Errorf("help.getConfig: %w", err)
	}
	if config.ThisDC != DC || config.MeURLPrefix != configTMe {
		return fmt.Errorf("help.getConfig: the answer of another server: %+v", config)
	}
	for _, size := range FileSizes {
		if size > maxFile {
			break
		}
		if err := sendAndFetch(ctx, api, size); err != nil {
			return err
		}
	}
	return nil
}

func sendAndFetch(ctx context.Context, api *tg.Client, size int) error {
	file := make([]byte, size)
	rand.Read(file)
	saved, err := api.UploadSaveFilePart(ctx, &tg.UploadSaveFilePartRequest{FileID: 1, Bytes: file})
	if err != nil || !saved {
		return fmt.Errorf("upload.saveFilePart with %d bytes: %v, %w", size, saved, err)
	}
	got, err := fetch(ctx, api, &tg.UploadGetFileRequest{Location: &tg.InputTakeoutFileLocation{}, Limit: size})
	if err != nil {
		return fmt.Errorf("upload.getFile of %d bytes: %w", size, err)
	}
	if !bytes.Equal(got, file) {
		return fmt.Errorf("upload.getFile of %d bytes: differs from the saved file", size)
	}
	return nil
}

// ErrOtherAnswer means that an answer belongs to another request.
var ErrOtherAnswer = errors.New("the answer belongs to another request")

// FetchDocument calls upload.getFile for a random document, and checks that the
// answer has the bytes of that document.
func FetchDocument(ctx context.Context, api *tg.Client) error {
	return fetchDocument(ctx, api, mathrand.Int64(), 1+mathrand.IntN(MaxFileFakeTLS))
}

func fetchDocument(ctx context.Context, api *tg.Client, id int64, size int) error {
	location := &tg.InputDocumentFileLocation{ID: id}
	got, err := fetch(ctx, api, &tg.UploadGetFileRequest{Location: location, Limit: size})
	if err == nil && !bytes.Equal(got, documentBytes(id, size)) {
		err = ErrOtherAnswer
	}
	return err
}

func fetch(ctx context.Context, api *tg.Client, request *tg.UploadGetFileRequest) ([]byte, error) {
	answer, err := api.UploadGetFile(ctx, request)
	if err != nil {
		return nil, err
	}
	file, ok := answer.(*tg.UploadFile)
	if !ok {
		return nil, fmt.Errorf("the answer is %T", answer)
	}
	return file.Bytes, nil
}

// luckyRand is a source of random bytes, except for the first two guesses with
// which gotd's client starts to factor pq. The test server's pq is constant. From
// these guesses the client finds its factors in 9 steps in place of about 30,000,
// which are slow under the race detector.
type luckyRand struct {
	mu      sync.Mutex
	guesses int
}

func (r *luckyRand) Read(p []byte) (int, error) {
	if len(p) != 8 {
		return rand.Read(p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.guesses++; r.guesses {
	case 1:
		binary.BigEndian.PutUint64(p, 0)
	case 2:
		binary.BigEndian.PutUint64(p, 63208)
	default:
		return rand.Read(p)
	}
	return len(p), nil
}
