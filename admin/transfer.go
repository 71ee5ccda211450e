package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/declarative"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// progressEvery is how often an import tells how far it is.
const progressEvery = 200 * time.Millisecond

// addTransfer adds the endpoints that move whole configurations in and out.
// They are additions to Kong's Admin API; `caddy gateway config` uses them.
func addTransfer(t *endpoints) {
	t.add(endpoint{
		pattern: "/config/import",
		verbs:   verbs{"POST": postImport},
		raw:     true,
		types:   []string{""},
	})
	t.add(endpoint{pattern: "/config/export", verbs: verbs{"GET": getExport}})
}

// getExport streams the whole configuration in the declarative format.
func getExport(c *call) (*answer, error) {
	format := declarative.YAML
	if f, n := c.query.get("format"); n > 0 {
		format = declarative.Format(f)
	}
	types := map[declarative.Format]string{declarative.YAML: "application/yaml", declarative.JSON: "application/json"}
	if types[format] == "" {
		return nil, badRequest("format must be yaml or json")
	}
	c.w.Header().Set("Content-Type", types[format]+"; charset=utf-8")
	c.stamp(time.Now())
	if c.r.Method == http.MethodHead {
		return nil, nil
	}
	if err := declarative.Export(c.w, c.world.View().Image, format); err != nil {
		c.logger.Error("export ended early", zap.Error(err))
		panic(http.ErrAbortHandler) // so that the client does not take it for complete
	}
	return nil, nil
}

// postImport brings the entities in line with a declarative configuration, in
// one transaction. It answers lines of JSON, of which the last tells the
// outcome; see declarative.ImportEvent.
func postImport(c *call) (*answer, error) {
	text, err := c.readAll(maxConfig)
	if err != nil {
		return nil, err
	}
	var out *progress
	defer func() {
		if out != nil {
			out.wait() // also after a panic: nobody may write behind the handler
		}
	}()
	var result declarative.ImportEvent
	free := c.alone(func() {
		out = newProgress(c)
		defer out.end()
		result, err = c.load(text, out.tell)
	})
	if !free {
		return busy()
	}
	out.wait()
	if err != nil {
		result = declarative.ImportEvent{Error: c.importError(err)}
	}
	if err := out.encoder.Encode(result); err != nil {
		c.logger.Info("the outcome of an import did not reach the client", zap.Error(err))
	}
	return nil, nil
}

// importError is what a client may know of an error.
func (c *call) importError(err error) *declarative.ImportError {
	var problems *declarative.Errors
	var refused *schema.Error
	if !errors.As(err, &problems) && !(errors.As(err, &refused) && statusOf(refused) != http.StatusInternalServerError) {
		c.logger.Error("import failed", zap.Error(err))
		err = errUnexpected
	}
	return declarative.NewImportError(err)
}

// load does the work of an import.
func (c *call) load(text []byte, progress func(stage string, done, total int)) (declarative.ImportEvent, error) {
	result := declarative.ImportEvent{DryRun: c.flag("dry_run"), Replaced: c.world.ReadOnly()}
	doc, err := declarative.Parse(text)
	if err != nil {
		return result, err
	}
	progress(declarative.StageParsed, len(text), len(text))
	rows, errs := doc.Resolve(c.world.Catalog(), declarative.Options{
		Progress: func(done, total int) { progress(declarative.StageChecked, done, total) },
	})
	if errs != nil {
		return result, errs
	}
	written := func(done, total int) { progress(declarative.StageWritten, done, total) }
	var summary declarative.Summary
	write := func(tx *store.Tx) (err error) {
		if result.Replaced {
			summary, err = declarative.Replace(tx, rows, written)
		} else {
			summary, err = declarative.Sync(tx, rows, declarative.SyncOptions{Prune: c.flag("prune"), Progress: written})
		}
		return err
	}
	do := c.world.Write
	switch {
	case result.DryRun:
		do = c.world.Try
	case result.Replaced:
		do = func(ctx context.Context, fn func(*store.Tx) error) error {
			return c.world.Load(ctx, doc.HashOf(rows), fn)
		}
	}
	if err := do(c.r.Context(), write); err != nil {
		return result, err
	}
	result.Summary = &summary
	return result, nil
}

// flag reads a switch of the query: "1", "true", "on", "yes", or only the name.
func (c *call) flag(name string) bool {
	for _, arg := range c.query {
		if arg.name == name {
			return truthy(arg.value)
		}
	}
	return false
}

func truthy(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case string:
		s := strings.ToLower(v)
		return s == "1" || s == "true" || s == "on" || s == "yes"
	case float64:
		return v == 1
	}
	return false
}

// progress writes the events of an import. Those on the way are written by a
// goroutine of its own, so that a client that does not read them holds up
// nothing but itself.
type progress struct {
	w       http.ResponseWriter
	encoder *json.Encoder // used by the goroutine until wait returns

	mu   sync.Mutex
	next declarative.ImportEvent // protected by mu; zero: nothing new

	quit chan struct{}
	done chan struct{}
}

func newProgress(c *call) *progress {
	c.w.Header().Set("Content-Type", "application/x-ndjson")
	c.stamp(time.Now())
	p := &progress{w: c.w, encoder: json.NewEncoder(c.w), quit: make(chan struct{}), done: make(chan struct{})}
	p.encoder.SetEscapeHTML(false)
	go p.run()
	return p
}

// end asks the goroutine to stop, and does not wait for it.
func (p *progress) end() { close(p.quit) }

// wait waits until the goroutine has stopped. The encoder is the caller's from
// then on.
func (p *progress) wait() { <-p.done }

// tell notes how far the import is.
func (p *progress) tell(stage string, done, total int) {
	p.mu.Lock()
	p.next = declarative.ImportEvent{Stage: stage, Done: done, Total: total}
	p.mu.Unlock()
}

func (p *progress) run() {
	defer close(p.done)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.quit:
			return
		case <-tick.C:
		}
		p.mu.Lock()
		event := p.next
		p.next = declarative.ImportEvent{}
		p.mu.Unlock()
		if event.Stage == "" {
			continue
		}
		if p.encoder.Encode(event) != nil || http.NewResponseController(p.w).Flush() != nil {
			return
		}
	}
}
