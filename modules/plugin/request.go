package plugin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/portcullis-gateway/portcullis/modules/http1"
)

// Accept says which request the exchange is about. If it has no Header, one is made
// of the head when somebody asks for it.
func (x *Exchange) Accept(r *http.Request, head *http1.Head) {
	if x.request, x.head = r, head; r.Header != nil {
		x.head = nil
	}
}

// Request is what the client sent, with the changes of plugins that are handlers of
// Caddy. Do not change it: see UpstreamHeader and the other methods about the
// upstream.
//
// Its Header is made at the first call. Who wants to know one thing of the request
// asks for that, and saves the time.
func (x *Exchange) Request() *http.Request {
	if x.request.Header == nil && x.head != nil {
		x.request.Header = x.head.Header()
	}
	return x.request
}

// Method is that of the client's request.
func (x *Exchange) Method() string { return x.request.Method }

// Host is the client's header of that name.
func (x *Exchange) Host() string { return x.request.Host }

// URL is what the client asked for.
func (x *Exchange) URL() *url.URL { return x.request.URL }

// Context ends when nobody waits for the answer any more.
func (x *Exchange) Context() context.Context { return x.request.Context() }

// Query is the query without "?", with changes of plugins before.
func (x *Exchange) Query() string {
	if q := x.upstream.query; q != nil {
		return *q
	}
	return x.request.URL.RawQuery
}

// ErrBodyTooLarge is the answer of Body to bodies that are larger than asked
// for.
var ErrBodyTooLarge = errors.New("the request's body is too large to be read")

// Body reads the whole body of the request, with changes of plugins before. The
// service gets it all the same. A body of more than max bytes is not read:
// ErrBodyTooLarge says so, and what was read stays part of the request.
func (x *Exchange) Body(max int64) ([]byte, error) {
	u := &x.upstream
	if u.bodySet {
		return u.body, nil
	}
	r := x.request
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil, nil
	}
	if r.ContentLength > max {
		return nil, ErrBodyTooLarge
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > max {
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(b), r.Body), r.Body}
		return nil, ErrBodyTooLarge
	}
	u.body, u.bodySet = b, true
	return b, nil
}
