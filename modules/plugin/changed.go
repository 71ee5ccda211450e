package plugin

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
)

// Apply makes the changes that plugins asked for to r, for what follows that is no
// upstream of the gateway's.
func (x *Exchange) Apply(r *http.Request) {
	u := &x.upstream
	if u.Header != nil || len(u.edits) > 0 {
		r.Header = x.UpstreamHeader()
	}
	if u.Method != "" {
		r.Method = u.Method
	}
	if u.Host != "" {
		r.Host = u.Host
	}
	path, moved := u.Path()
	query, asked := u.Query()
	if moved || asked {
		to := *r.URL
		if parsed, err := url.ParseRequestURI(path); moved && err == nil {
			to.Path, to.RawPath = parsed.Path, parsed.RawPath
		}
		if asked {
			to.RawQuery, to.ForceQuery = query, false
		}
		r.URL, r.RequestURI = &to, to.RequestURI()
	}
	if b, ok := u.Body(); ok {
		r.Body, r.ContentLength, r.TransferEncoding = io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
		if len(b) == 0 {
			r.Body = http.NoBody
		}
	}
}
