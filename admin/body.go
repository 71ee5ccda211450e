package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

var (
	errMediaType    = &refusal{status: http.StatusUnsupportedMediaType}
	errContentTypes = &refusal{http.StatusBadRequest, "Multiple Content-Type headers not allowed"}
	errJSON         = &refusal{http.StatusBadRequest, "Cannot parse JSON body"}
	errTooLarge     = &refusal{http.StatusRequestEntityTooLarge, "Payload too large"}
	errTimeout      = &refusal{http.StatusRequestTimeout, "Request timeout"}
)

// hasBody reports whether the body of the method means something.
func hasBody(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// formTypes are the beginnings of the content types that all bodies may have.
var formTypes = []string{"application/json", "multipart/form-data", "application/x-www-form-urlencoded"}

// acceptable refuses bodies of a type that cannot be read
// (kong/api/api_helpers.lua).
func (c *call) acceptable() error {
	if !hasBody(c.r.Method) {
		return nil
	}
	types := c.r.Header.Values("Content-Type")
	if len(types) > 1 {
		return errContentTypes
	}
	contentType := c.r.Header.Get("Content-Type")
	if len(types) == 0 && c.r.ContentLength == 0 {
		return nil
	}
	for _, prefix := range slices.Concat(formTypes, c.endpoint.types) {
		if strings.HasPrefix(contentType, prefix) {
			return nil
		}
	}
	return errMediaType
}

// read takes in the query and the body.
func (c *call) read() (err error) {
	if c.query, err = parseArguments(c.r.URL.RawQuery); err != nil {
		return err
	}
	if c.r.ContentLength == 0 {
		c.takeTime()
	}
	if !hasBody(c.r.Method) || c.endpoint.raw {
		return nil
	}
	c.body = schema.Object{}
	contentType := c.r.Header.Get("Content-Type")
	if contentType == "" {
		return nil
	}
	text, err := c.readAll(maxBody)
	if err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(contentType, "application/json"):
		c.body, err = decodeJSON(text)
	case strings.HasPrefix(contentType, "application/x-www-form-urlencoded"):
		var args arguments
		if args, err = parseArguments(string(text)); err == nil {
			c.body, c.form = nest(args), true
		}
	case strings.HasPrefix(contentType, "multipart/form-data"):
		var args arguments
		if args, err = parseMultipart(contentType, text); err == nil {
			c.body, c.form = nest(args), true
		}
	}
	return err
}

// readAll reads a body of at most limit bytes. That of an ordinary request has
// to arrive within the server's time for whole requests.
func (c *call) readAll(limit int64) ([]byte, error) {
	body := io.Reader(http.MaxBytesReader(c.w, c.r.Body, limit))
	if limit > maxBody {
		body = &patientReader{body, http.NewResponseController(c.w), c.readTimeout, 0}
	}
	text, err := io.ReadAll(body)
	switch {
	case tooLarge(err):
		return nil, errTooLarge
	case err != nil:
		return nil, errTimeout
	}
	c.takeTime()
	return text, nil
}

func tooLarge(err error) bool {
	var e *http.MaxBytesError
	return errors.As(err, &e)
}

// input answers the body as values for the fields of t: those of a form get
// the types that the fields have.
func (c *call) input(t *schema.Table) schema.Object {
	if c.form {
		return t.Coerce(c.body)
	}
	return c.body
}

// parseMultipart reads a multipart form. Parts that say that they are JSON
// are read as such; a body that is not well formed has no fields beyond those
// before the fault, as in Kong.
func parseMultipart(contentType string, body []byte) (arguments, error) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || params["boundary"] == "" {
		return nil, nil
	}
	var args arguments
	for r := multipart.NewReader(bytes.NewReader(body), params["boundary"]); ; {
		part, err := r.NextRawPart()
		if err != nil {
			return args, nil
		}
		if len(args) == maxArguments {
			return nil, errTooManyArguments
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return args, nil
		}
		name := part.FormName()
		if name == "" {
			continue
		}
		arg := argument{name: name, value: string(text)}
		if strings.HasPrefix(part.Header.Get("Content-Type"), "application/json") {
			var v any
			if decodeNumber(text, &v) == nil {
				arg.value = number(v)
			}
		}
		args = append(args, arg)
	}
}

// decodeJSON reads a body that has to be one JSON object.
func decodeJSON(text []byte) (schema.Object, error) {
	var o schema.Object
	if err := decodeNumber(text, &o); err != nil || o == nil {
		return nil, errJSON
	}
	return number(o).(schema.Object), nil
}

func decodeNumber(text []byte, v any) error {
	if !utf8.Valid(text) {
		return errJSON // the decoder would put other characters in place of the bad ones
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errJSON
	}
	return nil
}

// number replaces the numbers in a JSON value: int64 if they are whole, else
// float64, as schema tables expect.
func number(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, err := v.Float64()
		if err != nil {
			return string(v) // beyond what a float64 holds: no field accepts it
		}
		if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int64(f)
		}
		return f
	case map[string]any:
		for k, e := range v {
			v[k] = number(e)
		}
	case []any:
		for i, e := range v {
			v[i] = number(e)
		}
	}
	return v
}
