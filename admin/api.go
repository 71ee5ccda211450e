package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// maxBody bounds the body of ordinary requests, in bytes (nginx's
// client_max_body_size for the Admin API in Kong).
const maxBody = 10 << 20

// An API answers the requests that a guard let in.
type API struct {
	world     World
	endpoints endpoints
	logger    *zap.Logger

	// configuration is what `/` shows of the node's settings.
	configuration map[string]any

	enabled func(plugin string) bool // nil: all plugins may be used

	server  bool // answers have the header Server
	latency bool // answers have the header X-Kong-Admin-Latency

	readTimeout  time.Duration // for a part of a large body
	writeTimeout time.Duration // for a part of an answer

	loading atomic.Bool // a whole configuration is being loaded
}

// A call is one request to an endpoint.
type call struct {
	*API
	w        *patientWriter
	r        *http.Request
	endpoint *endpoint
	params   []string // the parameters of the path, decoded
	query    arguments
	body     schema.Object // of POST, PUT and PATCH; see input
	form     bool          // the body came as a form: its values are strings
}

// An answer is what a handler wants to say. A nil answer without an error
// means that the handler has written it already.
type answer struct {
	status int
	body   any // nil: none; []byte and json.RawMessage are JSON already
	header http.Header
}

// reply makes an answer without further headers.
func reply(status int, body any) (*answer, error) {
	return &answer{status: status, body: body}, nil
}

// A refusal is an error that is only a status and a message.
type refusal struct {
	status  int
	message string // empty: no body
}

func (e *refusal) Error() string { return e.message }

var (
	errNotFound   = &refusal{http.StatusNotFound, "Not found"}
	errMethod     = &refusal{http.StatusMethodNotAllowed, "Method not allowed"}
	errUnexpected = &refusal{http.StatusInternalServerError, "An unexpected error occurred"}
)

func badRequest(message string) error { return &refusal{http.StatusBadRequest, message} }

// statusOf answers the HTTP status of an error object (kong/api/endpoints.lua).
func statusOf(e *schema.Error) int {
	switch e.Code {
	case schema.CodeUniqueViolation:
		return http.StatusConflict
	case schema.CodeNotFound:
		return http.StatusNotFound
	case schema.CodeUnsupported:
		return http.StatusMethodNotAllowed
	case schema.CodeInvalidPrimaryKey, schema.CodeSchemaViolation, schema.CodePrimaryKeyViolation,
		schema.CodeForeignKeyViolation, schema.CodeInvalidOffset, schema.CodeInvalidSize,
		schema.CodeInvalidUnique, schema.CodeInvalidOptions, schema.CodeForeignKeysUnresolved,
		schema.CodeDeclarative, schema.CodeReferencedByOthers:
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// ServeHTTP finds the endpoint, reads the body, runs the handler and writes
// what it answers.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := a.call(w, r)
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			a.logger.Error("handler panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			if c.w.status != 0 {
				panic(http.ErrAbortHandler) // so that the client does not take it for complete
			}
			c.write(start, nil, errUnexpected)
		}
	}()
	ans, err := c.serve()
	if ans != nil || err != nil {
		c.write(start, ans, err)
	}
	if log := a.logger.Check(zap.DebugLevel, "request served"); log != nil {
		// The pattern, not the path: natural keys may be secrets.
		pattern := ""
		if c.endpoint != nil {
			pattern = c.endpoint.pattern
		}
		log.Write(zap.String("method", r.Method), zap.String("endpoint", pattern), zap.Int("status", c.w.status),
			zap.String("remote", r.RemoteAddr), zap.Duration("duration", time.Since(start)))
	}
}

// deny answers a request that gets no further than to a guard.
func (a *API) deny(w http.ResponseWriter, r *http.Request, refused *refusal) {
	a.call(w, r).write(time.Now(), nil, refused)
}

func (a *API) call(w http.ResponseWriter, r *http.Request) *call {
	return &call{API: a, w: &patientWriter{
		ResponseWriter: w,
		deadline:       http.NewResponseController(w),
		timeout:        a.writeTimeout,
	}, r: r}
}

func (c *call) serve() (*answer, error) {
	c.endpoint, c.params = c.endpoints.find(c.r.URL.EscapedPath())
	if c.endpoint == nil {
		return nil, errNotFound
	}
	if c.r.Method == http.MethodOptions {
		return c.options()
	}
	if err := c.acceptable(); err != nil {
		return nil, err
	}
	serve := c.endpoint.handler(c.r.Method)
	if serve == nil {
		return nil, errMethod
	}
	if err := c.read(); err != nil {
		return nil, err
	}
	return serve(c)
}

// options tells the verbs of a path.
func (c *call) options() (*answer, error) {
	headers := c.r.Header.Get("Access-Control-Request-Headers")
	if headers == "" {
		headers = "Content-Type"
	}
	return &answer{status: http.StatusNoContent, header: http.Header{
		"Allow":                        {c.endpoint.allow},
		"Access-Control-Allow-Methods": {c.endpoint.allow},
		"Access-Control-Allow-Headers": {headers},
	}}, nil
}

// write sends an answer or, if there is an error, what the client may know
// of it.
func (c *call) write(start time.Time, ans *answer, err error) {
	if err != nil {
		ans = c.failure(err)
	}
	header := c.w.Header()
	for name, values := range ans.header {
		header[name] = values
	}
	c.stamp(start)
	if ans.body == nil {
		if ans.status != http.StatusNoContent && ans.status != http.StatusNotModified {
			header.Set("Content-Length", "0")
		}
		c.w.WriteHeader(ans.status)
		return
	}
	body, err := encode(ans.body)
	if err != nil {
		c.logger.Error("answer could not be encoded", zap.String("endpoint", c.endpoint.pattern), zap.Error(err))
		ans.status, body = http.StatusInternalServerError, []byte(`{"message":"An unexpected error occurred"}`)
	}
	if header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/json; charset=utf-8")
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(ans.status)
	c.w.Write(body)
}

// stamp sets the headers that every answer has.
func (c *call) stamp(start time.Time) {
	if c.server {
		c.w.Header().Set("Server", "kong/"+gateway.KongVersion)
	}
	if c.latency {
		c.w.Header().Set("X-Kong-Admin-Latency", strconv.FormatInt(time.Since(start).Milliseconds(), 10))
	}
}

// failure turns an error into an answer. What a client cannot act on goes to
// the log instead.
func (c *call) failure(err error) *answer {
	var refused *refusal
	var violation *schema.Error
	switch {
	case errors.As(err, &refused):
		if refused.message == "" {
			return &answer{status: refused.status}
		}
		return &answer{status: refused.status, body: message(refused.message)}
	case errors.As(err, &violation):
		status := statusOf(violation)
		if status != http.StatusInternalServerError {
			return &answer{status: status, body: violation}
		}
	}
	if c.r.Context().Err() == nil {
		c.logger.Error("request failed", zap.String("method", c.r.Method), zap.String("endpoint", c.endpoint.pattern), zap.Error(err))
	}
	return c.failure(errUnexpected)
}

// message is the body of answers that only say something.
func message(text string) any {
	return struct {
		Message string `json:"message"`
	}{text}
}

// encode writes JSON as Kong does: compact, with <, > and & as they are.
func encode(v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		return v, nil
	case json.RawMessage:
		return v, nil
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}
