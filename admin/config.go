package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/declarative"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// maxConfig bounds the text of a whole configuration, in bytes.
const maxConfig = 1 << 30

var (
	errDatabase    = badRequest("this endpoint is only available when Kong is configured to not use a database")
	errNoConfig    = badRequest("expected a declarative configuration")
	errConfigLarge = &refusal{http.StatusRequestEntityTooLarge, `Configuration does not fit in LMDB database, consider raising the "lmdb_map_size" config for Kong`}
)

// addConfig adds the endpoint for whole configurations.
func addConfig(t *endpoints) {
	t.add(endpoint{
		pattern: "/config",
		verbs:   verbs{"GET": getConfig, "POST": postConfig},
		raw:     true,
		types:   []string{"application/yaml", "text/yaml"},
	})
}

// getConfig answers the whole configuration of a node without a database.
func getConfig(c *call) (*answer, error) {
	if !c.world.ReadOnly() {
		return nil, errDatabase
	}
	var text bytes.Buffer
	if err := declarative.Export(&text, c.world.View().Image, declarative.YAML); err != nil {
		return nil, err
	}
	return reply(http.StatusOK, map[string]any{"config": text.String()})
}

// A configRequest is what POST /config asks for.
type configRequest struct {
	doc       *declarative.Document
	flatten   bool // list errors by entity
	checkHash bool // do nothing if the same text is loaded
}

// postConfig replaces the whole configuration of a node without a database.
func postConfig(c *call) (*answer, error) {
	if !c.world.ReadOnly() {
		return nil, errDatabase
	}
	text, err := c.readAll(maxConfig)
	if err == errTooLarge {
		return nil, errConfigLarge
	}
	if err != nil {
		return nil, err
	}
	var a *answer
	if !c.alone(func() { a, err = c.loadConfig(text) }) {
		return busy()
	}
	return a, err
}

// loadConfig does the work of postConfig once the body is there. What it makes
// of a body is many times as large.
func (c *call) loadConfig(body []byte) (*answer, error) {
	req, err := c.configRequest(body)
	if err != nil {
		return nil, err
	}
	if hash := req.doc.Hash(); req.checkHash && hash != "" && hash == c.world.View().Hash {
		return reply(http.StatusNotModified, nil)
	}
	rows, err := c.replace(req.doc)
	var errs *declarative.Errors
	switch {
	case errors.As(err, &errs) && req.flatten:
		return reply(http.StatusBadRequest, errs.Flatten())
	case errors.As(err, &errs):
		return nil, errs.Body()
	case err != nil:
		return nil, err
	}
	return reply(http.StatusCreated, c.flat(rows))
}

// replace makes a document the whole configuration.
func (c *call) replace(doc *declarative.Document) ([]declarative.Row, error) {
	rows, errs := doc.Resolve(c.world.Catalog(), declarative.Options{})
	if errs != nil {
		return nil, errs
	}
	return rows, c.world.Load(c.r.Context(), doc.HashOf(rows), func(tx *store.Tx) error {
		_, err := declarative.Replace(tx, rows, nil)
		return err
	})
}

// alone runs fn unless another whole configuration is being loaded, which it
// reports by false.
func (c *call) alone(fn func()) bool {
	if !c.loading.CompareAndSwap(false, true) {
		return false
	}
	defer c.loading.Store(false)
	fn()
	return true
}

func busy() (*answer, error) {
	return &answer{
		status: http.StatusTooManyRequests,
		body:   message("Currently loading previous configuration"),
		header: http.Header{"Retry-After": {"1"}},
	}, nil
}

// flat is the configuration as Kong shows what it has loaded: the entities by
// table and identifier.
func (c *call) flat(rows []declarative.Row) json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	table := ""
	for i, row := range rows {
		switch {
		case row.Table != table && table != "":
			fmt.Fprintf(&b, "},%q:{", row.Table)
		case row.Table != table:
			fmt.Fprintf(&b, "%q:{", row.Table)
		case i > 0:
			b.WriteByte(',')
		}
		table = row.Table
		fmt.Fprintf(&b, "%q:", row.ID)
		b.Write(c.world.Catalog().Table(table).Marshal(row.Object))
	}
	if table != "" {
		b.WriteByte('}')
	}
	b.WriteByte('}')
	return b.Bytes()
}

// configRequest parses the body of POST /config, which has four forms: the
// configuration itself as JSON or YAML, or its text in the field `config` of
// JSON or of a form (kong/api/routes/config.lua).
func (c *call) configRequest(body []byte) (*configRequest, error) {
	q := &configRequest{}
	for _, arg := range c.query {
		q.option(arg.name, arg.value)
	}
	if contentType := c.r.Header.Get("Content-Type"); !strings.HasPrefix(contentType, "application/json") {
		text, err := c.configText(contentType, body, q)
		if err != nil {
			return nil, err
		}
		return q, q.parse(text)
	}
	var peek struct {
		Version       json.RawMessage `json:"_format_version"`
		Config        any             `json:"config"`
		CheckHash     any             `json:"check_hash"`
		FlattenErrors any             `json:"flatten_errors"`
	}
	if json.Unmarshal(body, &peek) != nil {
		return nil, errJSON
	}
	q.option("check_hash", peek.CheckHash)
	q.option("flatten_errors", peek.FlattenErrors)
	if peek.Version == nil {
		config, _ := peek.Config.(string)
		return q, q.parse([]byte(config))
	}
	inline, err := decodeJSON(body)
	if err != nil {
		return nil, err
	}
	delete(inline, "check_hash")
	delete(inline, "flatten_errors")
	q.doc = declarative.FromObject(inline)
	return q, nil
}

// configText answers the text of a configuration that did not come as JSON.
func (c *call) configText(contentType string, body []byte, q *configRequest) ([]byte, error) {
	var args arguments
	var err error
	switch {
	case strings.HasPrefix(contentType, "application/x-www-form-urlencoded"):
		args, err = parseArguments(string(body))
	case strings.HasPrefix(contentType, "multipart/form-data"):
		args, err = parseMultipart(contentType, body)
	default:
		return body, nil
	}
	for _, arg := range args {
		q.option(arg.name, arg.value)
	}
	config, _ := args.get("config")
	return []byte(config), err
}

// option sets an option of the request from an argument of that name.
func (q *configRequest) option(name string, value any) {
	switch name {
	case "check_hash":
		q.checkHash = q.checkHash || value == "1" || value == 1.0
	case "flatten_errors":
		q.flatten = q.flatten || truthy(value)
	}
}

// parse reads the text of a configuration.
func (q *configRequest) parse(text []byte) error {
	if len(text) == 0 {
		return errNoConfig
	}
	doc, err := declarative.Parse(text)
	var errs *declarative.Errors
	if errors.As(err, &errs) {
		return errs.Body()
	}
	q.doc = doc
	return err
}
