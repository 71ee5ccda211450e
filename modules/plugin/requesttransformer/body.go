package requesttransformer

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strings"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/transform"
)

// maxBody bounds the bodies that are changed, in bytes. Larger ones pass as they
// are.
const maxBody = 10 << 20

const formType = "application/x-www-form-urlencoded"

// contentType is that of the request's body; "": it cannot be changed.
func contentType(h http.Header) (kind, boundary string) {
	text := h.Get("Content-Type")
	lower := strings.ToLower(text)
	for _, kind := range []string{"application/json", "multipart/form-data", formType} {
		if strings.Contains(lower, kind) {
			_, params, _ := mime.ParseMediaType(text)
			return kind, params["boundary"]
		}
	}
	return "", ""
}

// read answers the body; false: it stays as it is.
func read(x *plugin.Exchange) ([]byte, bool, error) {
	b, err := x.Body(maxBody)
	var refused *plugin.Answer
	switch {
	case err == nil:
		return b, true, nil
	case errors.Is(err, plugin.ErrBodyTooLarge):
		x.Logger.Warn("the body is too large to be changed", zap.String("plugin", "request-transformer"), zap.Int("limit", maxBody))
		return nil, false, nil
	case errors.As(err, &refused):
		return nil, false, refused
	}
	return nil, false, plugin.Refuse(http.StatusBadRequest, "")
}

func (p *Plugin) changeBody(x *plugin.Exchange, r *renderer) error {
	kind, boundary := contentType(x.Header())
	if kind == "" {
		return nil
	}
	body, ok, err := read(x)
	if !ok {
		return err
	}
	switch kind {
	case "application/json":
		if len(body) == 0 {
			body = []byte("{}")
		}
		o, err := transform.ParseObject(body)
		if err != nil {
			return nil // it is the service's to judge
		}
		encode := func(t template) (json.RawMessage, bool) {
			s, ok := r.text(t)
			return transform.Text(s), ok
		}
		if transform.Apply(&p.body, o, r.text, encode) {
			x.SetBody(o.Bytes())
		}
	case formType:
		args := transform.ParseArgs(string(body))
		if transform.Apply(&p.body, args, r.text, r.text) {
			x.SetBody([]byte(args.String()))
		}
	default:
		f, err := parseForm(body, boundary)
		if err != nil {
			return nil
		}
		if transform.Apply(&p.body, f, r.text, r.text) {
			x.SetBody(f.bytes())
		}
	}
	return nil
}

// setMethod gives the service another method. One that has no body takes the
// fields of a form in its query.
func (p *Plugin) setMethod(x *plugin.Exchange) error {
	x.SetMethod(p.HTTPMethod)
	switch p.HTTPMethod {
	case http.MethodGet, http.MethodHead, http.MethodTrace:
	default:
		return nil
	}
	if kind, _ := contentType(x.Header()); kind != formType {
		return nil
	}
	body, ok, err := read(x)
	if !ok || len(body) == 0 {
		return err
	}
	args := transform.ParseArgs(x.Query())
	args.Join(transform.ParseArgs(string(body)))
	x.SetQuery(args.String())
	return nil
}
