package httplog

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/dial"
	"github.com/portcullis-gateway/portcullis/modules/queue"
)

// An outlet sends entries with one set of settings. It outlives the instances
// that have them.
type outlet struct {
	queue  *queue.Queue
	client http.Client
	target url.URL // without user and password
	method string
	header http.Header
	lists  bool // entries are sent as lists
}

// maxResponse is how much of a response is read, in bytes, so that its connection
// can be used again.
const maxResponse = 256 << 10

func newOutlet(p *Plugin) (*outlet, error) {
	u, err := url.Parse(p.HTTPEndpoint)
	if err != nil {
		return nil, errors.New("http_endpoint: could not parse url")
	}
	o := &outlet{method: p.Method, header: http.Header{}, lists: p.Queue.MaxBatchSize > 1}
	for name, value := range p.Headers {
		o.header.Set(name, value)
	}
	o.header.Set("Content-Type", p.ContentType)
	o.header.Set("User-Agent", "portcullis")
	if u.User != nil {
		password, _ := u.User.Password()
		r := http.Request{Header: o.header}
		r.SetBasicAuth(u.User.Username(), password)
		u.User = nil
	}
	o.target = *u
	connections := 1
	if p.Queue.ConcurrencyLimit < 0 {
		connections = 64
	}
	o.client = http.Client{
		Timeout:       milli(p.Timeout),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				return dial.Dialer{Guarded: true}.TCP(ctx, address)
			},
			TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
			IdleConnTimeout:     milli(p.Keepalive),
			MaxIdleConnsPerHost: connections,
			DisableCompression:  true,
		},
	}
	o.queue = queue.New("http-log", p.Queue, o.send)
	return o, nil
}

func milli(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }

// send passes a batch to the server. Its errors name the server's address and
// nothing else of the URL, which may have secrets in it.
func (o *outlet) send(ctx context.Context, batch [][]byte) error {
	body := batch[0]
	if o.lists {
		body = append(append([]byte{'['}, bytes.Join(batch, []byte{','})...), ']')
	}
	r, err := http.NewRequestWithContext(ctx, o.method, o.target.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header = o.header.Clone()
	resp, err := o.client.Do(r)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("request to %s: %w", o.target.Host, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	switch {
	case resp.StatusCode >= 300:
		return fmt.Errorf("request to %s returned status code %d and body %s", o.target.Host, resp.StatusCode, excerpt(answer))
	case err != nil:
		return fmt.Errorf("response of %s: %w", o.target.Host, err)
	}
	return nil
}

// excerpt is as much of a body as fits into a line of a log.
func excerpt(b []byte) string { return strings.ToValidUTF8(string(b[:min(len(b), 200)]), "?") }

// Destruct lets the queue send what it has.
func (o *outlet) Destruct() error {
	o.queue.Close(o.client.CloseIdleConnections)
	return nil
}
